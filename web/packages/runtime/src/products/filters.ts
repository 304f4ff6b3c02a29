/** `where: { brand: "Acme", price: { lt: 20 } }` -> SQL with parameters. */

import { ConfigError } from "../contract/errors.js";
import { columnsBy, type ProductColumn } from "../contract/product_columns.js";
import { type Value } from "./rows_database.js";

/** A comparison of numbers; all that are given must hold. */
export interface PriceRange {
  readonly lt?: number;
  readonly lte?: number;
  readonly gt?: number;
  readonly gte?: number;
}

/** Field -> a value, a list of values (any of them), or for a number a range; all must hold. */
export type Where = Readonly<Record<string, unknown>>;

/** A condition on table `products` and its parameters. */
export interface SqlFilter {
  readonly condition: string;
  readonly parameters: readonly Value[];
}

const FIELDS = columnsBy(({ filters }) => filters);
const COMPARISONS: Readonly<Record<string, string>> = { lt: "<", lte: "<=", gt: ">", gte: ">=" };
export const ATTRIBUTE_PREFIX = "attributes.";
const ATTRIBUTE_VALUE =
  "EXISTS (SELECT 1 FROM json_each(products.attributes) AS one WHERE one.key = ? " +
  "AND one.value COLLATE NOCASE IN (SELECT value FROM json_each(?)))";
const CATEGORY =
  "EXISTS (SELECT 1 FROM json_each(?) AS one WHERE category = one.value COLLATE NOCASE " +
  "OR substr(category, 1, length(one.value) + 3) = one.value || ' > ' COLLATE NOCASE)";

/**
 * Turn a filter into SQL; values only ever become parameters.
 *
 * Text compares without regard to ASCII case. A category also covers what lies below it.
 *
 * @param attributeNames gives the attributes that the catalogue knows.
 * @param stored columns that the catalogue has; no product matches a value of another one.
 * @throws ConfigError an unknown field, or a value of the wrong kind.
 */
export function compileWhere(
  where: Where,
  attributeNames: () => ReadonlySet<string>,
  stored: ReadonlySet<string>,
): SqlFilter {
  if (typeof where !== "object" || Array.isArray(where)) {
    throw new ConfigError(`a filter is an object like {"brand": "Acme"}, found ${JSON.stringify(where)}`);
  }
  const parts = Object.entries(where).map(([field, value]) => {
    const part = compileField(field, value, attributeNames);
    const column = FIELDS.get(field);
    return column === undefined || stored.has(column.stored) ? part : { condition: "0", parameters: [] };
  });
  return {
    condition: parts.map((part) => `(${part.condition})`).join(" AND ") || "1",
    parameters: parts.flatMap((part) => part.parameters),
  };
}

function compileField(field: string, value: unknown, attributeNames: () => ReadonlySet<string>): SqlFilter {
  const column = FIELDS.get(field);
  if (column?.type === "number") return compileNumber(column, value);
  if (column?.type === "flag") return compileFlag(column, value);
  if (column !== undefined) {
    const values = texts(field, value);
    if (field === "category") return { condition: CATEGORY, parameters: [values] };
    const collation = field === "product_id" ? "" : " COLLATE NOCASE";
    return { condition: `${column.stored}${collation} IN (SELECT value FROM json_each(?))`, parameters: [values] };
  }
  if (field.startsWith(ATTRIBUTE_PREFIX)) {
    const name = field.slice(ATTRIBUTE_PREFIX.length);
    if (attributeNames().has(name)) return { condition: ATTRIBUTE_VALUE, parameters: [name, texts(field, value)] };
  }
  const known = [...FIELDS.keys(), ...Array.from(attributeNames(), (name) => ATTRIBUTE_PREFIX + name)];
  const shown = known.sort().slice(0, 20).join(", ") + (known.length > 20 ? ", …" : "");
  throw new ConfigError(`cannot filter by '${field}'; known fields are ${shown}`);
}

function compileNumber({ name, stored }: ProductColumn, value: unknown): SqlFilter {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    const bounds = Object.entries(value);
    const unknown = bounds.filter(([key]) => !Object.hasOwn(COMPARISONS, key)).map(([key]) => key);
    if (unknown.length > 0 || bounds.length === 0) {
      const known = Object.keys(COMPARISONS).join(", ");
      throw new ConfigError(`a ${name} range has ${known}, found ${unknown.join(", ") || "none of them"}`);
    }
    return {
      condition: bounds.map(([key]) => `${stored} ${COMPARISONS[key] as string} ?`).join(" AND "),
      parameters: bounds.map(([, bound]) => finite(name, bound)),
    };
  }
  const numbers = asList(value).map((one) => finite(name, one));
  return { condition: `${stored} IN (SELECT value FROM json_each(?))`, parameters: [JSON.stringify(numbers)] };
}

function compileFlag({ name, stored }: ProductColumn, value: unknown): SqlFilter {
  if (typeof value !== "boolean") {
    throw new ConfigError(`the filter ${name} is true or false, found ${JSON.stringify(value)}`);
  }
  return { condition: `${stored} = ?`, parameters: [value ? 1 : 0] };
}

/** Return the texts as a JSON list: one parameter however many there are. */
function texts(field: string, value: unknown): string {
  const values = asList(value);
  for (const one of values) {
    if (typeof one !== "string") {
      throw new ConfigError(`the filter ${field} takes a text or a list of texts, found ${JSON.stringify(one)}`);
    }
  }
  return JSON.stringify(values);
}

function finite(field: string, value: unknown): number {
  if (typeof value === "number" && Number.isFinite(value)) return value;
  throw new ConfigError(`the filter ${field} compares with a finite number, found ${JSON.stringify(value)}`);
}

function asList(value: unknown): readonly unknown[] {
  if (value instanceof Set) return [...(value as Set<unknown>)];
  return Array.isArray(value) ? (value as unknown[]) : [value];
}
