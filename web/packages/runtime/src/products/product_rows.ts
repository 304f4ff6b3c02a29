/** Rows of `catalogue.sqlite` by product id, by filter, by popularity. */

import { BundleFormatError, reasonOf } from "../contract/errors.js";
import { PRODUCT_COLUMNS } from "../contract/product_columns.js";
import { Remembered } from "../remembered.js";
import { bestRows, type Ranked } from "../search/ranking.js";
import { type Mask, rowsOf } from "../search/vector_index.js";
import { compileWhere, type Where } from "./filters.js";
import { type RowsDatabase, type Value } from "./rows_database.js";

const CACHED_FILTERS = 32;

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
  readonly url: string | null;
  readonly imageUrl: string | null;
  readonly currency: string | null;
  readonly inStock: boolean | null;
  readonly rating: number | null;
  /** The shop's own columns, for display. */
  readonly extra: Readonly<Record<string, string>>;
}

/** The product table of a bundle. */
export class ProductRows {
  private readonly masks = new Remembered<Mask>(CACHED_FILTERS);
  private popularities: Float32Array | undefined;
  private order: Int32Array | undefined;
  private names: ReadonlySet<string> | undefined;

  /**
   * Check the table's length.
   *
   * @throws BundleFormatError the table does not have rows 0 … `products` - 1.
   */
  constructor(
    private readonly database: RowsDatabase,
    private readonly products: number,
  ) {
    const ends = "(SELECT min(row) FROM products), (SELECT max(row) FROM products)";
    const found = database.fetch(`SELECT (SELECT count(*) FROM products), ${ends}`)[0] ?? [];
    if (String(found) !== String([products, 0, products - 1])) {
      throw new BundleFormatError(
        `the product table has ${String(found[0])} rows from ${String(found[1])} to ${String(found[2])}, the manifest ` +
          `says ${String(products)} from 0; get the bundle again`,
      );
    }
  }

  /** Return the row of each product that the catalogue knows; others are left out. */
  rowsOf(productIds: readonly string[]): Map<string, number> {
    const sql = "SELECT product_id, row FROM products WHERE product_id IN ({})";
    return new Map(this.database.fetchByKeys(sql, productIds) as [string, number][]);
  }

  /** Return the product ids of `rows`, in their order. */
  idsOf(rows: Int32Array): string[] {
    const sql = "SELECT row, product_id FROM products WHERE row IN ({})";
    const found = new Map(this.database.fetchByKeys(sql, Array.from(rows)) as [number, string][]);
    return Array.from(rows, (row) => found.get(row) as string);
  }

  /** Return one row for display. */
  product(row: number): ProductRow {
    const columns = PRODUCT_COLUMNS.filter(({ stored }) => this.database.productColumns().has(stored));
    const sql = `SELECT ${columns.map(({ stored }) => stored).join(", ")} FROM products WHERE row = ?`;
    const found = this.database.fetch(sql, [row])[0] as Value[];
    const values = new Map(columns.map(({ name }, place) => [name, found[place] ?? null]));
    const text = (name: string): string | null => (values.get(name) ?? null) as string | null;
    const number = (name: string): number | null => (values.get(name) ?? null) as number | null;
    const inStock = number("in_stock");
    return {
      productId: String(text("product_id")),
      title: String(text("title")),
      description: text("description"),
      brand: text("brand"),
      category: text("category"),
      attributes: namedTexts("attributes", text("attributes"), row),
      price: number("price"),
      group: text("group"),
      url: text("url"),
      imageUrl: text("image_url"),
      currency: text("currency"),
      inStock: inStock === null ? null : inStock === 1,
      rating: number("rating"),
      extra: namedTexts("extra", text("extra") ?? "{}", row),
    };
  }

  /**
   * Return which rows fulfil the filter.
   *
   * @throws ConfigError an unknown field, or a value of the wrong kind.
   */
  matching(where: Where): Mask {
    const { condition, parameters } = compileWhere(
      where,
      () => this.attributeNames(),
      this.database.productColumns(),
    );
    return this.masks.get(JSON.stringify([condition, parameters]), () => {
      const mask = new Uint8Array(this.products);
      this.database.each(`SELECT row FROM products WHERE ${condition}`, parameters, (row) => {
        mask[row.getInt(0) as number] = 1;
      });
      return mask;
    });
  }

  /** Return the most popular rows, ties by row; the scores are the popularity that the builder gave. */
  mostPopular(count: number, eligible: Mask | null): Ranked {
    const popularity = this.popularity();
    this.order ??= bestRows(rowsOf(null, this.products), popularity, this.products).rows;
    const rows = (eligible === null ? this.order : this.order.filter((row) => eligible[row] === 1)).slice(0, count);
    return { rows, scores: Float32Array.from(rows, (row) => popularity[row] as number) };
  }

  /** Return the popularity of each row. */
  popularity(): Float32Array {
    this.popularities ??= Float32Array.from(
      this.database.fetch("SELECT popularity FROM products ORDER BY row"),
      (row) => row[0] as number,
    );
    return this.popularities;
  }

  /** Return the attributes that the catalogue knows. */
  attributeNames(): ReadonlySet<string> {
    this.names ??= new Set(this.database.fetch("SELECT name FROM attribute_names").map((row) => String(row[0])));
    return this.names;
  }
}

function namedTexts(column: string, json: string | null, row: number): Readonly<Record<string, string>> {
  try {
    return JSON.parse(String(json)) as Record<string, string>;
  } catch (error) {
    throw new BundleFormatError(
      `${column} of row ${String(row)} are not JSON (${reasonOf(error)}); get the bundle again`,
    );
  }
}
