/** One query's scores: its vector, its words, and what both say of any row (edge_runtime/query_scores.py). */

import { type Catalogue, type Mask } from "./catalogue.js";
import { type Encoder, isZero } from "./encoder.js";
import { type LexicalIndex, type LexicalQuery, maximum } from "./lexical.js";
import { bestRows, fuse } from "./ranking.js";

/** Each side of a hybrid search proposes at least so many rows. */
export const MIN_CANDIDATES = 100;

/** "hybrid" mixes meaning and words by the bundle's weights, "dense" and "lexical" take one alone. */
export type Mode = "hybrid" | "dense" | "lexical";
export const MODES: readonly Mode[] = ["hybrid", "dense", "lexical"];

/** What scoring a query needs of a bundle. */
export interface QueryTools {
  readonly encoder: Encoder;
  readonly catalogue: Catalogue;
  readonly lexicalIndex: LexicalIndex;
  readonly denseWeight: number;
}

/** Scores of rows for one query; the score of a row does not depend on filters or on which rows are asked for. */
export class QueryScores {
  /** The best lexical score of the whole catalogue, 0 when no word matches. */
  readonly bestLexical: number;

  private constructor(
    private readonly tools: QueryTools,
    readonly query: LexicalQuery,
    readonly lexical: Float32Array,
    readonly vector: Float32Array,
    private readonly bestCosine: number,
  ) {
    this.bestLexical = maximum(lexical);
  }

  /** Read the query in `mode`: "dense" leaves the words out, "lexical" the vector. */
  static async of(text: string, mode: Mode, tools: QueryTools): Promise<QueryScores> {
    const { encoder, catalogue, lexicalIndex } = tools;
    const query = mode === "dense" ? { words: [], corrections: {} } : lexicalIndex.understand(text);
    const vector = mode === "lexical" ? new Float32Array(0) : await encoder.encodeQuery(text);
    const best = mode === "hybrid" ? ((await catalogue.top(vector, 1)).scores[0] as number) : 0;
    return new QueryScores(tools, query, lexicalIndex.scores(query), vector, best);
  }

  /** Whether the model or the index knows anything of the query. */
  get knowsAnything(): boolean {
    return !isZero(this.vector) || this.bestLexical > 0;
  }

  /** Return the rows among which the `k` best are, each once, rising. */
  async candidates(k: number, eligible: Mask | null, mode: Mode): Promise<Int32Array> {
    const { catalogue } = this.tools;
    const count = Math.max(k, MIN_CANDIDATES);
    const chosen = new Set<number>();
    if (mode !== "lexical") {
      for (const row of (await catalogue.top(this.vector, count, eligible)).rows) chosen.add(row);
    }
    if (mode !== "dense") {
      const rows: number[] = [];
      this.lexical.forEach((score, row) => {
        if (score > 0 && (eligible === null || eligible[row] === 1)) rows.push(row);
      });
      const matching = Int32Array.from(rows);
      for (const row of bestRows(matching, this.lexicalOf(matching), count).rows) chosen.add(row);
    }
    return Int32Array.from(chosen).sort();
  }

  /** Return the scores of `rows` in `mode`. */
  of(rows: Int32Array, mode: Mode): Float32Array {
    if (mode === "lexical") return this.lexicalOf(rows);
    const cosines = this.cosines(rows);
    return mode === "dense" ? cosines : this.hybrid(cosines, this.lexicalOf(rows));
  }

  /** Return the lexical scores of `rows`. */
  lexicalOf(rows: Int32Array): Float32Array {
    return Float32Array.from(rows, (row) => this.lexical[row] as number);
  }

  /** Return the cosines of `rows` with this query, or with another unit vector. */
  cosines(rows: Int32Array, vector: Float32Array = this.vector): Float32Array {
    return this.tools.catalogue.cosines(vector, rows);
  }

  /** Mix cosines and lexical scores by the bundle's weight and this query's best scores. */
  hybrid(cosines: Float32Array, lexical: Float32Array): Float32Array {
    const { bestCosine, bestLexical } = this;
    return fuse(cosines, lexical, { denseWeight: this.tools.denseWeight, bestCosine, bestLexical });
  }
}
