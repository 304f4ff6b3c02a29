/** The columns of a product: those of edge_runtime/contract/product_columns.py, in its order. */

/** What a value is; a flag is stored as 1 or 0, texts as a JSON object of named texts. */
export type ColumnType = "text" | "number" | "flag" | "texts";

/** One column: its field in a filter, its name in `catalogue.sqlite`, and what it is for. */
export interface ProductColumn {
  readonly name: string;
  readonly type: ColumnType;
  readonly stored: string;
  readonly filters: boolean;
  readonly sorts: boolean;
  readonly facets: boolean;
}

const ROWS = [
  ["product_id", "text", "product_id", "filters"],
  ["title", "text", "title", ""],
  ["description", "text", "description", ""],
  ["brand", "text", "brand", "filters facets"],
  ["category", "text", "category", "filters facets"],
  ["attributes", "texts", "attributes", ""],
  ["price", "number", "price", "filters sorts facets"],
  ["group", "text", "product_group", "filters facets"],
  ["url", "text", "url", ""],
  ["image_url", "text", "image_url", ""],
  ["currency", "text", "currency", ""],
  ["in_stock", "flag", "in_stock", "filters"],
  ["rating", "number", "rating", "filters sorts facets"],
  ["extra", "texts", "extra", ""],
] as const;

export const PRODUCT_COLUMNS: readonly ProductColumn[] = ROWS.map(([name, type, stored, uses]) => ({
  name,
  type,
  stored,
  filters: uses.includes("filters"),
  sorts: uses.includes("sorts"),
  facets: uses.includes("facets"),
}));

/** Return the columns for which `is` holds, by name. */
export function columnsBy(is: (column: ProductColumn) => boolean): ReadonlyMap<string, ProductColumn> {
  return new Map(PRODUCT_COLUMNS.filter(is).map((column) => [column.name, column]));
}
