/** Words -> rows by BM25 and coverage over the full-text index, with a correction of unknown words. */

import { BundleFormatError } from "../contract/errors.js";
import { type Manifest } from "../contract/manifest.js";
import { FIELDS, quotedTerm } from "../contract/rows.js";
import { cut } from "../contract/text.js";
import { type RowsDatabase } from "../products/rows_database.js";
import { Remembered } from "../remembered.js";
import { Postings } from "./postings.js";
import { compareCodePoints, editDistance, foldWord, trigramsOf, wordsOf } from "./spelling.js";

export const ANY_FIELD = "any";

/** Of a longer query, the first distinct words count for the lexical side. */
export const MAX_WORDS = 64;

const MAX_WORD_CHARS = 64;
const CANDIDATES = 200;
const CORRECTIONS = 2;
const REMEMBERED_CORRECTIONS = 1_024;

/** What the index is asked for. */
export interface LexicalQuery {
  /** The terms that stand for each word, in order: the word itself, or what an unknown one was corrected to. */
  readonly words: readonly (readonly string[])[];
  /** Unknown word -> the catalogue's words nearest to it. */
  readonly corrections: Readonly<Record<string, readonly string[]>>;
}

/** The rows that any term matches, rising, and their lexical scores. */
export class LexicalHits {
  /** The best score, 0 when nothing matches. */
  readonly best: number;

  constructor(
    readonly rows: Int32Array,
    readonly scores: Float32Array,
  ) {
    this.best = scores.length > 0 ? maximum(scores) : 0;
  }

  /** Return the scores of any rows, 0 for those without a term. */
  of(rows: Int32Array): Float32Array {
    return Float32Array.from(rows, (row) => {
      const place = lowerBound(this.rows, row);
      return this.rows[place] === row ? (this.scores[place] as number) : 0;
    });
  }
}

/** Some distinct rows and what is added to the one at a place. */
type Addend = readonly [Int32Array, (place: number) => number];

/** Return all terms of a query, in order, each once. */
export function termsOf(query: LexicalQuery): string[] {
  return [...new Set(query.words.flat())];
}

/** The full-text side of `catalogue.sqlite`. */
export class LexicalIndex {
  private readonly postings: Postings;
  private readonly sums: Float32Array;
  private readonly common: ReadonlySet<string>;
  private readonly coverageWeights: ReadonlyMap<string, number>;
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
    this.coverageWeights = new Map(Object.entries(fusion.coverageWeights));
    this.postings = new Postings(database, products, fusion.fieldWeights, coverage);
    this.sums = new Float32Array(products);
    this.common = new Set(database.fetch("SELECT term FROM common_terms").map((row) => String(row[0])));
  }

  /**
   * Return the words of `text`, which `normalizeText` gave, as the index knows them.
   *
   * Words of more than half of all products are left out, for they decide nothing, unless there are no others.
   */
  understand(text: string): LexicalQuery {
    const folded = wordsOf(text).map((word) => cut(foldWord(word), MAX_WORD_CHARS));
    const words = [...new Set(folded.filter((word) => word !== ""))];
    const rare = words.filter((word) => !this.common.has(word));
    const alternatives = new Map<string, readonly string[]>();
    const corrections: Record<string, readonly string[]> = {};
    for (const word of (rare.length > 0 ? rare : words).slice(0, MAX_WORDS)) {
      const found = this.postings.of(word).rows.length > 0 ? [] : this.correctionsOf(word);
      if (found.length > 0) corrections[word] = found;
      const terms = found.length > 0 ? found : [word];
      alternatives.set(terms.join("\n"), terms);
    }
    return { words: [...alternatives.values()], corrections };
  }

  /** Return the rows with any term of the query and their lexical scores (docs/bundle-format.md). */
  hits(query: LexicalQuery): LexicalHits {
    const found = termsOf(query).map((term) => this.postings.of(term));
    const rows = this.union(found.map((hits) => hits.rows));
    const bm25 = this.summed(found.map((hits): Addend => [hits.rows, (place) => hits.bm25[place] as number]), rows);
    const best = bm25.length > 0 ? maximum(bm25) : 0;
    const scores = best > 0 ? bm25.map((value) => value / best) : bm25;
    for (const [name, covered] of this.coverage(query, rows)) {
      const weight = Math.fround(this.coverageWeights.get(name) as number);
      for (let place = 0; place < scores.length; place++) {
        scores[place] = (scores[place] as number) + Math.fround(weight * (covered[place] as number));
      }
    }
    return new LexicalHits(rows, scores);
  }

  /** Return for each text column, or "any", the share of the query's words that each of `rows` holds, by rarity. */
  private coverage(query: LexicalQuery, rows: Int32Array): Map<string, Float32Array> {
    const held = new Map([...this.coverageWeights.keys()].map((name): [string, Addend[]] => [name, []]));
    let total = 0;
    for (const word of held.size > 0 ? query.words : []) {
      const anywhere = this.rowsWith(word, ANY_FIELD);
      const rarity = Math.log1p((this.products - anywhere.length + 0.5) / (anywhere.length + 0.5));
      total += rarity;
      const added = Math.fround(rarity);
      for (const [name, addends] of held) {
        addends.push([name === ANY_FIELD ? anywhere : this.rowsWith(word, name), () => added]);
      }
    }
    const whole = Math.fround(Math.max(total, 1e-6));
    return new Map([...held].map(([name, addends]) => [name, this.summed(addends, rows).map((sum) => sum / whole)]));
  }

  /** Return for each of `rows` the sum of what is added to it; an addend's rows are distinct and among `rows`. */
  private summed(addends: readonly Addend[], rows: Int32Array): Float32Array {
    const { sums } = this;
    for (const [places, value] of addends) {
      for (let place = 0; place < places.length; place++) {
        const row = places[place] as number;
        sums[row] = (sums[row] as number) + value(place);
      }
    }
    const result = Float32Array.from(rows, (row) => sums[row] as number);
    for (const [places] of addends) for (const row of places) sums[row] = 0;
    return result;
  }

  /** Return the rows of any of `found`, rising, each once. */
  private union(found: readonly Int32Array[]): Int32Array {
    if (found.length === 1) return found[0] as Int32Array;
    const rows = new Int32Array(found.reduce((sum, one) => sum + one.length, 0));
    let length = 0;
    for (const one of found) {
      rows.set(one, length);
      length += one.length;
    }
    rows.sort();
    return rows.filter((row, place) => place === 0 || row !== rows[place - 1]);
  }

  /** Return the text columns of the product in `row` that hold `term` or a form of it. */
  fieldsWith(term: string, row: number): string[] {
    const sql = "SELECT 1 FROM search WHERE search MATCH ? AND rowid = ?";
    return FIELDS.filter((name) => this.database.fetch(sql, [`${name} : ${quotedTerm(term)}`, row]).length > 0);
  }

  /** Return the rows that hold any of a word's terms in a text column, each once. */
  private rowsWith(word: readonly string[], name: string): Int32Array {
    const hits = word.map((term) => this.postings.of(term));
    return this.union(hits.map((one) => (name === ANY_FIELD ? one.rows : (one.byField.get(name) as Int32Array))));
  }

  private correctionsOf(word: string): readonly string[] {
    return this.corrected.get(word, () => this.askCorrections(word));
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
    const near = this.database.fetch(sql, [...pieces.map(quotedTerm), length, limit, length, CANDIDATES]);
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

/** Return the greatest value. */
export function maximum(values: Float32Array): number {
  let best = -Infinity;
  for (const value of values) if (value > best) best = value;
  return best;
}

/** Return the first place in rising `rows` whose row is not below `row`. */
function lowerBound(rows: Int32Array, row: number): number {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((rows[middle] as number) < row) low = middle + 1;
    else high = middle;
  }
  return low;
}
