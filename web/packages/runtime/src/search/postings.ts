/** One term -> the rows that hold it, with BM25: from the bundle's postings, or asked of the index. */

import { BundleFormatError } from "../contract/errors.js";
import { BM25_B, BM25_K1, bm25Sql, FIELDS, MIN_IDF, quotedTerm } from "../contract/rows.js";
import { type RowsDatabase, type Value } from "../products/rows_database.js";

/** So many rows of recent terms are kept: some 2 MB. */
const REMEMBERED_HITS = 250_000;

const POSTING = "SELECT hits, rows, codes, counts FROM posting_words JOIN postings USING (posting) WHERE word = ?";

/** The rows with one term, rising, their BM25, and by text column the rows that hold it there. */
export interface TermHits {
  readonly rows: Int32Array;
  readonly bm25: Float32Array;
  readonly byField: ReadonlyMap<string, Int32Array>;
}

/** Hits of single terms. */
export class Postings {
  private readonly hitsSql: string;
  private readonly weights: readonly number[];
  private readonly lengths: Uint16Array | null;
  private readonly meanLength: number;
  private readonly recent = new Map<string, TermHits>();
  private recentHits = 0;

  /**
   * Prepare the queries.
   *
   * @param fieldWeights BM25 weight of each text column, 1 for those it does not name.
   * @param columns text columns whose rows are wanted apart.
   */
  constructor(
    private readonly database: RowsDatabase,
    private readonly products: number,
    fieldWeights: Readonly<Record<string, number>>,
    private readonly columns: readonly string[],
  ) {
    this.hitsSql = bm25Sql(fieldWeights);
    this.weights = FIELDS.map((name) => fieldWeights[name] ?? 1);
    this.lengths = rowLengths(database, products);
    this.meanLength = (this.lengths?.reduce((sum, one) => sum + one, 0) ?? 0) / products;
  }

  /**
   * Return the rows with a term, or a form of it.
   *
   * @throws BundleFormatError the file is damaged, or names a row that the catalogue does not have.
   */
  of(term: string): TermHits {
    const known = this.recent.get(term);
    if (known !== undefined) {
      this.recent.delete(term);
      this.recent.set(term, known);
      return known;
    }
    const hits = this.read(term) ?? this.ask(term);
    const { rows } = hits;
    if (rows.length > 0 && !((rows[0] as number) >= 0 && (rows.at(-1) as number) < this.products)) {
      throw new BundleFormatError("the full-text index names a row that does not exist; get the bundle again");
    }
    this.remember(term, hits);
    return hits;
  }

  private remember(term: string, hits: TermHits): void {
    this.recent.set(term, hits);
    this.recentHits += hits.rows.length + 1;
    for (const [oldest, { rows }] of this.recent) {
      if (this.recentHits <= REMEMBERED_HITS || this.recent.size <= 1) break;
      this.recent.delete(oldest);
      this.recentHits -= rows.length + 1;
    }
  }

  private read(term: string): TermHits | null {
    const found = this.lengths === null ? undefined : this.database.fetch(POSTING, [term])[0];
    if (found === undefined) return null;
    const [hits, rows, codes, counts] = found;
    if (typeof hits !== "number" || ![rows, codes, counts].every((blob) => blob instanceof Uint8Array)) {
      throw new BundleFormatError(`the postings of '${term}' are malformed; get the bundle again`);
    }
    return this.unpacked(term, hits, found.slice(1) as unknown as [Uint8Array, Uint8Array, Uint8Array]);
  }

  /** The BM25 of FTS5, in its order of operations, so that both give the same numbers. */
  private unpacked(term: string, hits: number, blobs: readonly [Uint8Array, Uint8Array, Uint8Array]): TermHits {
    const [rowsBlob, codesBlob, counts] = blobs;
    const rows = rowsBlob.length === 2 * hits ? summedUp(shorts(rowsBlob)) : integers(rowsBlob);
    const codes = codesBlob.length === hits ? codesBlob : shorts(codesBlob);
    const { lengths } = this;
    if (hits <= 0 || rows.length !== hits || codes.length !== hits || lengths === null) {
      throw new BundleFormatError(`the postings of '${term}' are malformed; get the bundle again`);
    }
    const kinds = Array.from({ length: counts.length / FIELDS.length }, (_, kind) =>
      this.weights.reduce((sum, weight, at) => sum + (counts[kind * FIELDS.length + at] as number) * weight, 0),
    );
    const rarity = Math.log((this.products - hits + 0.5) / (hits + 0.5));
    const idf = rarity > 0 ? rarity : MIN_IDF;
    const bm25 = new Float32Array(hits);
    for (let place = 0; place < hits; place++) {
      const frequency = kinds[codes[place] as number] as number;
      const share = (BM25_B * (lengths[rows[place] as number] as number)) / this.meanLength;
      bm25[place] = idf * ((frequency * (BM25_K1 + 1)) / (frequency + BM25_K1 * (1 - BM25_B + share)));
    }
    const holds = (at: number, place: number): boolean => counts[(codes[place] as number) * FIELDS.length + at] !== 0;
    const byField = this.columns.map((name): [string, Int32Array] => {
      const at = FIELDS.findIndex((field) => field === name);
      return [name, rows.filter((_, place) => holds(at, place))];
    });
    return { rows, bm25, byField: new Map(byField) };
  }

  /** BM25 of several terms is the sum of theirs, so one term at a time is asked for. */
  private ask(term: string): TermHits {
    const found: [number, number][] = [];
    this.database.each(this.hitsSql, [quotedTerm(term)], (hit) => {
      found.push([hit.getInt(0) as number, Math.max(hit.getFloat(1) as number, 0)]);
    });
    found.sort(([left], [right]) => left - right);
    const byField = new Map(this.columns.map((name) => [name, this.askRows(term, name)]));
    return { rows: Int32Array.from(found, ([row]) => row), bm25: Float32Array.from(found, ([, score]) => score), byField };
  }

  private askRows(term: string, name: string): Int32Array {
    const rows: number[] = [];
    this.database.each("SELECT rowid FROM search WHERE search MATCH ?", [`${name} : ${quotedTerm(term)}`], (hit) =>
      rows.push(hit.getInt(0) as number),
    );
    return Int32Array.from(rows);
  }
}

/** Return the tokens of each row; null without postings: the index says the same, later. */
function rowLengths(database: RowsDatabase, products: number): Uint16Array | null {
  if (database.fetch("SELECT 1 FROM sqlite_master WHERE name = 'posting_lengths'").length === 0) return null;
  const blob: Value | undefined = database.fetch("SELECT lengths FROM posting_lengths")[0]?.[0];
  const lengths = blob instanceof Uint8Array ? shorts(blob) : new Uint16Array(0);
  if (lengths.length === products) return lengths;
  throw new BundleFormatError(
    `the postings know ${String(lengths.length)} products, the manifest says ${String(products)}; get the bundle again`,
  );
}

/** Read little-endian numbers of two bytes. */
function shorts(blob: Uint8Array): Uint16Array {
  const view = new DataView(blob.buffer, blob.byteOffset, blob.byteLength);
  return Uint16Array.from({ length: blob.length >> 1 }, (_, place) => view.getUint16(place * 2, true));
}

/** Read little-endian numbers of four bytes. */
function integers(blob: Uint8Array): Int32Array {
  const view = new DataView(blob.buffer, blob.byteOffset, blob.byteLength);
  return Int32Array.from({ length: blob.length >> 2 }, (_, place) => view.getInt32(place * 4, true));
}

function summedUp(differences: Uint16Array): Int32Array {
  const rows = new Int32Array(differences.length);
  let row = 0;
  differences.forEach((difference, place) => (rows[place] = row += difference));
  return rows;
}
