/** Words -> rows by BM25 and coverage over the full-text index, with a correction of unknown words (edge_runtime/lexical.py). */

import { BundleFormatError } from "./errors.js";
import { type Manifest } from "./manifest.js";
import { Remembered } from "./remembered.js";
import { type RowsDatabase } from "./rows_database.js";
import { compareCodePoints, editDistance, foldWord, trigramsOf, wordsOf } from "./spelling.js";
import { cut, normalizeText } from "./text.js";

export const FIELDS = ["title", "brand", "category", "attributes", "description"] as const;
export const ANY_FIELD = "any";

/** Of a longer query, the first distinct words count for the lexical side. */
export const MAX_WORDS = 64;

const MAX_WORD_CHARS = 64;
const CANDIDATES = 200;
const CORRECTIONS = 2;
const REMEMBERED_TERMS = 256;
const REMEMBERED_CORRECTIONS = 1_024;

/** What the index is asked for. */
export interface LexicalQuery {
  /** The terms that stand for each word, in order: the word itself, or what an unknown one was corrected to. */
  readonly words: readonly (readonly string[])[];
  /** Unknown word -> the catalogue's words nearest to it. */
  readonly corrections: Readonly<Record<string, readonly string[]>>;
}

/** What the index says of a query before the parts are weighed. */
export interface LexicalParts {
  /** BM25 of each row, summed over the terms, 0 where none matches. */
  readonly bm25: Float32Array;
  /** Text column, or "any" -> for each row the share of the query's words that it holds, by rarity. */
  readonly coverage: ReadonlyMap<string, Float32Array>;
}

interface TermHits {
  readonly rows: Int32Array;
  readonly bm25: Float32Array;
  readonly byField: ReadonlyMap<string, Int32Array>;
}

/** Return all terms of a query, in order, each once. */
export function termsOf(query: LexicalQuery): string[] {
  return [...new Set(query.words.flat())];
}

/** The full-text side of `catalogue.sqlite`. */
export class LexicalIndex {
  private readonly hitsSql: string;
  private readonly common: ReadonlySet<string>;
  private readonly coverageWeights: readonly (readonly [string, number])[];
  private readonly hits = new Remembered<TermHits>(REMEMBERED_TERMS);
  private readonly corrected = new Remembered<readonly string[]>(REMEMBERED_CORRECTIONS);

  /**
   * Prepare the queries.
   *
   * @throws BundleFormatError a weight for a column that does not exist.
   */
  constructor(
    private readonly database: RowsDatabase,
    private readonly products: number,
    fusion: Manifest["fusion"],
  ) {
    const known = new Set<string>(FIELDS);
    const coverage = Object.keys(fusion.coverageWeights).filter((name) => name !== ANY_FIELD);
    const unknown = [...Object.keys(fusion.fieldWeights), ...coverage].filter((name) => !known.has(name)).sort();
    if (unknown.length > 0) {
      throw new BundleFormatError(
        `the manifest weights the text column '${String(unknown[0])}', known are ${FIELDS.join(", ")}; ` +
          "build the bundle again",
      );
    }
    this.coverageWeights = Object.entries(fusion.coverageWeights);
    const weights = FIELDS.map((name) => asReal(fusion.fieldWeights[name] ?? 1)).join(", ");
    this.hitsSql = `SELECT rowid, -bm25(search, ${weights}) FROM search WHERE search MATCH ?`;
    this.common = new Set(database.fetch("SELECT term FROM common_terms").map((row) => String(row[0])));
  }

  /**
   * Return the words of `text` as the index knows them.
   *
   * Words of more than half of all products are left out, for they decide nothing, unless there are no others.
   */
  understand(text: string): LexicalQuery {
    const folded = wordsOf(normalizeText(text)).map((word) => cut(foldWord(word), MAX_WORD_CHARS));
    const words = [...new Set(folded.filter((word) => word !== ""))];
    const rare = words.filter((word) => !this.common.has(word));
    const alternatives = new Map<string, readonly string[]>();
    const corrections: Record<string, readonly string[]> = {};
    for (const word of (rare.length > 0 ? rare : words).slice(0, MAX_WORDS)) {
      const found = this.hitsOf(word).rows.length > 0 ? [] : this.correctionsOf(word);
      if (found.length > 0) corrections[word] = found;
      const terms = found.length > 0 ? found : [word];
      alternatives.set(terms.join("\n"), terms);
    }
    return { words: [...alternatives.values()], corrections };
  }

  /** Return the lexical score of each row (docs/bundle-format.md), 0 where no term matches. */
  scores(query: LexicalQuery): Float32Array {
    const { bm25, coverage } = this.parts(query);
    const best = maximum(bm25);
    const scores = best > 0 ? bm25.map((value) => value / best) : bm25.slice();
    for (const [name, weight] of this.coverageWeights) {
      const covered = coverage.get(name) as Float32Array;
      const rounded = Math.fround(weight);
      for (let row = 0; row < scores.length; row++) {
        const share = covered[row] as number;
        if (share !== 0) scores[row] = (scores[row] as number) + Math.fround(rounded * share);
      }
    }
    return scores;
  }

  /** Return what `scores` weighs. */
  parts(query: LexicalQuery): LexicalParts {
    const bm25 = new Float32Array(this.products);
    for (const term of termsOf(query)) {
      const hits = this.hitsOf(term);
      hits.rows.forEach((row, place) => {
        bm25[row] = (bm25[row] as number) + (hits.bm25[place] as number);
      });
    }
    const coverage = new Map(this.coverageWeights.map(([name]) => [name, new Float32Array(this.products)]));
    let total = 0;
    for (const word of coverage.size > 0 ? query.words : []) {
      const rows = this.rowsWith(word, ANY_FIELD);
      const rarity = Math.log1p((this.products - rows.length + 0.5) / (rows.length + 0.5));
      total += rarity;
      const added = Math.fround(rarity);
      for (const [name, covered] of coverage) {
        for (const row of name === ANY_FIELD ? rows : this.rowsWith(word, name)) {
          covered[row] = (covered[row] as number) + added;
        }
      }
    }
    const whole = Math.fround(Math.max(total, 1e-6));
    for (const covered of coverage.values()) {
      for (let row = 0; row < covered.length; row++) {
        if (covered[row] !== 0) covered[row] = (covered[row] as number) / whole;
      }
    }
    return { bm25, coverage };
  }

  /** Return the text columns of the product in `row` that hold `term` or a form of it. */
  fieldsWith(term: string, row: number): string[] {
    const sql = "SELECT 1 FROM search WHERE search MATCH ? AND rowid = ?";
    return FIELDS.filter((name) => this.database.fetch(sql, [`${name} : ${quoted(term)}`, row]).length > 0);
  }

  private rowsWith(word: readonly string[], name: string): Int32Array {
    const found = word.map((term) => {
      const hits = this.hitsOf(term);
      return name === ANY_FIELD ? hits.rows : (hits.byField.get(name) as Int32Array);
    });
    if (found.length === 1) return found[0] as Int32Array;
    return Int32Array.from(new Set(found.flatMap((rows) => Array.from(rows)))).sort();
  }

  private hitsOf(term: string): TermHits {
    return this.hits.get(term, () => this.askHits(term));
  }

  private correctionsOf(word: string): readonly string[] {
    return this.corrected.get(word, () => this.askCorrections(word));
  }

  private askHits(term: string): TermHits {
    const rows: number[] = [];
    const scores: number[] = [];
    this.database.each(this.hitsSql, [quoted(term)], (hit) => {
      rows.push(hit.getInt(0) as number);
      scores.push(Math.max(hit.getFloat(1) as number, 0));
    });
    if (rows.some((row) => row < 0 || row >= this.products)) {
      throw new BundleFormatError("the full-text index names a row that does not exist; get the bundle again");
    }
    const columns = this.coverageWeights.map(([name]) => name).filter((name) => name !== ANY_FIELD);
    const byField = new Map(columns.map((name) => [name, this.askRows(term, name)]));
    return { rows: Int32Array.from(rows), bm25: Float32Array.from(scores), byField };
  }

  private askRows(term: string, name: string): Int32Array {
    const rows: number[] = [];
    this.database.each("SELECT rowid FROM search WHERE search MATCH ?", [`${name} : ${quoted(term)}`], (hit) =>
      rows.push(hit.getInt(0) as number),
    );
    return Int32Array.from(rows);
  }

  private askCorrections(word: string): readonly string[] {
    const limit = editsAllowed(word);
    if (limit === 0) return [];
    const pieces = trigramsOf(word);
    const length = Array.from(word).length;
    const union = pieces.map(() => "SELECT rowid AS id FROM trigrams WHERE trigrams MATCH ?").join(" UNION ALL ");
    const sql =
      `SELECT term, products FROM (SELECT id, count(*) AS shared FROM (${union}) GROUP BY id) ` +
      "JOIN terms ON term_id = id WHERE abs(length(term) - ?) <= ? " +
      "ORDER BY shared DESC, abs(length(term) - ?), id LIMIT ?";
    const near = this.database.fetch(sql, [...pieces.map(quoted), length, limit, length, CANDIDATES]);
    const ranked = near.map(([term, products]) => ({
      term: String(term),
      products: Number(products),
      distance: editDistance(word, String(term), limit),
    }));
    ranked.sort(
      (a, b) => a.distance - b.distance || b.products - a.products || compareCodePoints(a.term, b.term),
    );
    const nearest = ranked[0]?.distance ?? limit + 1;
    if (nearest > limit) return [];
    return ranked.filter((one) => one.distance === nearest).slice(0, CORRECTIONS).map((one) => one.term);
  }
}

/** A short word is one edit away from too many others, a number from every other number. */
function editsAllowed(word: string): number {
  const length = Array.from(word).length;
  if (!/^\p{L}+$/u.test(word) || length > 24 || length < 4) return 0;
  return length < 7 ? 1 : 2;
}

/** Quote a term for FTS5, so that no word is ever read as its syntax. */
function quoted(term: string): string {
  return `"${term.replaceAll('"', '""')}"`;
}

/** Write a number so that SQL reads a real one. */
function asReal(value: number): string {
  return Number.isInteger(value) ? value.toFixed(1) : String(value);
}

/** Return the greatest value. */
export function maximum(values: Float32Array): number {
  let best = -Infinity;
  for (const value of values) if (value > best) best = value;
  return best;
}
