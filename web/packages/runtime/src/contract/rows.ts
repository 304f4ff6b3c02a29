/** What builder and device say alike about the full-text side of `catalogue.sqlite`. */

/** The text columns of table `search`, in order. */
export const FIELDS = ["title", "brand", "category", "attributes", "description"] as const;

export const BM25_K1 = 1.2;
export const BM25_B = 0.75;

/** What FTS5 takes for a word of more than half of all products. */
export const MIN_IDF = 1e-6;

/** Return the query for the rows that match one parameter, with their BM25, more is better, under these weights. */
export function bm25Sql(fieldWeights: Readonly<Record<string, number>>): string {
  const weights = FIELDS.map((name) => asReal(fieldWeights[name] ?? 1)).join(", ");
  return `SELECT rowid, -bm25(search, ${weights}) FROM search WHERE search MATCH ?`;
}

/** Quote a word for FTS5, so that it is never read as its syntax. */
export function quotedTerm(term: string): string {
  return `"${term.replaceAll('"', '""')}"`;
}

/** Write a number so that SQL reads a real one. */
function asReal(value: number): string {
  return Number.isInteger(value) ? value.toFixed(1) : String(value);
}
