/** `where: { brand: "Acme", price: { lt: 20 } }` -> SQL with parameters (edge_runtime/filters.py). */
import { type Value } from "./rows_database.js";
/** A comparison of prices; all that are given must hold. */
export interface PriceRange {
    readonly lt?: number;
    readonly lte?: number;
    readonly gt?: number;
    readonly gte?: number;
}
/** Field -> a value, a list of values (any of them), or for `price` a range; all must hold. */
export type Where = Readonly<Record<string, unknown>>;
/** A condition on table `products` and its parameters. */
export interface SqlFilter {
    readonly condition: string;
    readonly parameters: readonly Value[];
}
export declare const ATTRIBUTE_PREFIX = "attributes.";
/**
 * Turn a filter into SQL; values only ever become parameters.
 *
 * Text compares without regard to ASCII case. A category also covers what lies below it.
 *
 * @param attributeNames gives the attributes that the catalogue knows.
 * @throws ConfigError an unknown field, or a value of the wrong kind.
 */
export declare function compileWhere(where: Where, attributeNames: () => ReadonlySet<string>): SqlFilter;
