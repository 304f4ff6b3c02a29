/** Rows of `catalogue.sqlite` by product id, by filter, by popularity (edge_runtime/product_rows.py). */
import { type Mask } from "./catalogue.js";
import { type Where } from "./filters.js";
import { type Ranked } from "./ranking.js";
import { type RowsDatabase } from "./rows_database.js";
/** A product as an app shows it; `group` is the seller or whatever exposure is reported by. */
export interface ProductRow {
    readonly productId: string;
    readonly title: string;
    readonly description: string | null;
    readonly brand: string | null;
    readonly category: string | null;
    readonly attributes: Readonly<Record<string, string>>;
    readonly price: number | null;
    readonly group: string | null;
}
/** The product table of a bundle. */
export declare class ProductRows {
    private readonly database;
    private readonly products;
    private readonly masks;
    private popularities;
    private order;
    private names;
    /**
     * Check the table's length.
     *
     * @throws BundleFormatError the table does not have rows 0 … `products` - 1.
     */
    constructor(database: RowsDatabase, products: number);
    /** Return the row of each product that the catalogue knows; others are left out. */
    rowsOf(productIds: readonly string[]): Map<string, number>;
    /** Return the product ids of `rows`, in their order. */
    idsOf(rows: Int32Array): string[];
    /** Return one row for display. */
    product(row: number): ProductRow;
    /**
     * Return which rows fulfil the filter.
     *
     * @throws ConfigError an unknown field, or a value of the wrong kind.
     */
    matching(where: Where): Mask;
    /** Return the most popular rows, ties by row; the scores are the popularity that the builder gave. */
    mostPopular(count: number, eligible: Mask | null): Ranked;
    /** Return the popularity of each row. */
    popularity(): Float32Array;
    /** Return the attributes that the catalogue knows. */
    attributeNames(): ReadonlySet<string>;
}
