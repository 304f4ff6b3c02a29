/** One query's scores: its vector, its words, and what both say of any row. */

import { type Encoder, isZero } from "../inference/encoder.js";
import { type LexicalHits, type LexicalIndex, type LexicalQuery } from "./lexical.js";
import { bestRows, fuse, type Ranked } from "./ranking.js";
import { type Catalogue, type Mask } from "./vector_index.js";

/** Each side of a hybrid search proposes at least so many rows. */
export const MIN_CANDIDATES = 100;

/** "hybrid" mixes meaning and words by the bundle's weights, "dense" and "lexical" take one alone. */
export type Mode = "hybrid" | "dense" | "lexical";
export const MODES: readonly Mode[] = ["hybrid", "dense", "lexical"];

const NOTHING: Ranked = { rows: new Int32Array(0), scores: new Float32Array(0) };

/** What scoring a query needs of a bundle. */
export interface QueryTools {
  readonly encoder: Encoder;
  readonly catalogue: Catalogue;
  readonly lexicalIndex: LexicalIndex;
  readonly denseWeight: number;
}

/** Scores of rows for one query; the score of a row does not depend on filters or on which rows are asked for. */
export class QueryScores {
  private constructor(
    private readonly tools: QueryTools,
    readonly query: LexicalQuery,
    /** The rows that any word matches. */
    readonly hits: LexicalHits,
    /** The unit vector of the query; empty in lexical mode. */
    readonly vector: Float32Array,
    /** The nearest rows of the whole catalogue: the index's candidates in exact order; at least one. */
    readonly nearest: Ranked,
  ) {}

  /** Read a normalized, not empty text in `mode`: "dense" leaves the words out, "lexical" the vector. */
  static async of(text: string, mode: Mode, tools: QueryTools): Promise<QueryScores> {
    const { encoder, catalogue, lexicalIndex } = tools;
    const query = mode === "dense" ? { words: [], corrections: {} } : lexicalIndex.understand(text);
    const hits = lexicalIndex.hits(query);
    if (mode === "lexical") return new QueryScores(tools, query, hits, new Float32Array(0), NOTHING);
    const vector = await encoder.encodeQuery(text);
    const nearest = catalogue.rescore(vector, await catalogue.propose(vector));
    return new QueryScores(tools, query, hits, vector, nearest);
  }

  /** Whether the model or the index knows anything of the query. */
  get knowsAnything(): boolean {
    return !isZero(this.vector) || this.hits.best > 0;
  }

  /** Return the `k` best eligible rows in `mode`; fewer when fewer are eligible or, by words alone, match. */
  async ranking(k: number, eligible: Mask | null, mode: Mode): Promise<Ranked> {
    const count = Math.max(k, MIN_CANDIDATES);
    if (mode === "lexical") return this.byWords(k, eligible);
    if (mode === "dense") return this.byMeaning(k, eligible);
    const dense = await this.byMeaning(count, eligible);
    const words = this.byWords(count, eligible);
    const rows = Int32Array.from(new Set([...dense.rows, ...words.rows])).sort();
    return bestRows(rows, this.of(rows, mode), k);
  }

  /** Return the scores of `rows` in `mode`. */
  of(rows: Int32Array, mode: Mode): Float32Array {
    if (mode === "lexical") return this.hits.of(rows);
    const cosines = this.cosines(rows);
    return mode === "dense" ? cosines : this.hybrid(cosines, this.hits.of(rows));
  }

  /** Return the cosines of `rows` with this query, or with another unit vector. */
  cosines(rows: Int32Array, vector: Float32Array = this.vector): Float32Array {
    return this.tools.catalogue.cosines(vector, rows);
  }

  /** Mix cosines and lexical scores by the bundle's weight and this query's best scores. */
  hybrid(cosines: Float32Array, lexical: Float32Array): Float32Array {
    const bestCosine = this.nearest.scores[0] as number;
    return fuse(cosines, lexical, { denseWeight: this.tools.denseWeight, bestCosine, bestLexical: this.hits.best });
  }

  private async byMeaning(count: number, eligible: Mask | null): Promise<Ranked> {
    return this.tools.catalogue.top(this.vector, count, eligible, this.nearest);
  }

  private byWords(count: number, eligible: Mask | null): Ranked {
    const { rows, scores } = this.hits;
    const fits = (place: number): boolean =>
      (scores[place] as number) > 0 && (eligible === null || eligible[rows[place] as number] === 1);
    const kept = rows.filter((_, place) => fits(place));
    return bestRows(kept, scores.filter((_, place) => fits(place)), count);
  }
}
