/** Columns of the product table as arrays: what facets count and sorting compares; read when first asked for. */

import { ConfigError } from "../contract/errors.js";
import { columnsBy } from "../contract/product_columns.js";
import { Remembered } from "../remembered.js";
import { ATTRIBUTE_PREFIX } from "./filters.js";
import { type RowsDatabase } from "./rows_database.js";

const COUNTED = columnsBy(({ facets }) => facets);
export const NUMBERS = columnsBy(({ type }) => type === "number");
const CACHED_COLUMNS = 16;

/** One text per row: `codes` index `values`, -1 where the product has none. */
export interface TextColumn {
  readonly codes: Int32Array;
  readonly values: readonly string[];
}

/** Columns of one catalogue. */
export class ProductColumns {
  private readonly columns = new Remembered<TextColumn>(CACHED_COLUMNS);
  private readonly numberColumns = new Map<string, Float64Array>();
  private titlePlaces: Int32Array | undefined;

  constructor(
    private readonly database: RowsDatabase,
    private readonly products: number,
    private readonly attributeNames: () => ReadonlySet<string>,
  ) {}

  /**
   * Check that products can be counted by `field`.
   *
   * @throws ConfigError they cannot.
   */
  checkField(field: string): void {
    const attributes = [...this.attributeNames()].sort().map((name) => ATTRIBUTE_PREFIX + name);
    const known = [...COUNTED.keys(), ...attributes];
    if (known.includes(field)) return;
    const shown = known.slice(0, 20).join(", ") + (known.length > 20 ? ", …" : "");
    throw new ConfigError(`cannot count products by '${field}'; known fields are ${shown}`);
  }

  /** Return a text column, values in the order of their first row. */
  text(field: string): TextColumn {
    return this.columns.get(field, () => this.readText(field));
  }

  /** Return a column of numbers, NaN where a row has none. */
  numbers(field: string): Float64Array {
    let numbers = this.numberColumns.get(field);
    if (numbers === undefined) {
      numbers = this.readNumbers(field);
      this.numberColumns.set(field, numbers);
    }
    return numbers;
  }

  /** Return the place of each row when titles are in alphabetical order. */
  titleOrder(): Int32Array {
    if (this.titlePlaces === undefined) {
      const places = new Int32Array(this.products);
      const sorted = this.database.fetch("SELECT row FROM products ORDER BY title COLLATE NOCASE, row");
      sorted.forEach(([row], place) => (places[row as number] = place));
      this.titlePlaces = places;
    }
    return this.titlePlaces;
  }

  private readNumbers(field: string): Float64Array {
    const stored = NUMBERS.get(field)?.stored ?? field;
    if (!this.database.productColumns().has(stored)) return new Float64Array(this.products).fill(NaN);
    const found = this.database.fetch(`SELECT ${stored} FROM products ORDER BY row`);
    return Float64Array.from(found, ([number]) => (number === null ? NaN : (number as number)));
  }

  private readText(field: string): TextColumn {
    const column = COUNTED.get(field)?.stored;
    const found =
      column === undefined
        ? this.database.fetch("SELECT row, value FROM products, json_each(attributes) AS one WHERE one.key = ?", [
            field.slice(ATTRIBUTE_PREFIX.length),
          ])
        : this.database.fetch(`SELECT row, ${column} FROM products`);
    const numbers = new Map<string, number>();
    const codes = new Int32Array(this.products).fill(-1);
    for (const [row, value] of found) {
      if (value === null || value === "") continue;
      const text = String(value);
      if (!numbers.has(text)) numbers.set(text, numbers.size);
      codes[row as number] = numbers.get(text) as number;
    }
    return { codes, values: [...numbers.keys()] };
  }
}
