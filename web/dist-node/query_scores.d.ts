/** One query's scores: its vector, its words, and what both say of any row (edge_runtime/query_scores.py). */
import { type Catalogue, type Mask } from "./catalogue.js";
import { type Encoder } from "./encoder.js";
import { type LexicalHits, type LexicalIndex, type LexicalQuery } from "./lexical.js";
import { type Ranked } from "./ranking.js";
/** Each side of a hybrid search proposes at least so many rows. */
export declare const MIN_CANDIDATES = 100;
/** "hybrid" mixes meaning and words by the bundle's weights, "dense" and "lexical" take one alone. */
export type Mode = "hybrid" | "dense" | "lexical";
export declare const MODES: readonly Mode[];
/** What scoring a query needs of a bundle. */
export interface QueryTools {
    readonly encoder: Encoder;
    readonly catalogue: Catalogue;
    readonly lexicalIndex: LexicalIndex;
    readonly denseWeight: number;
}
/** Scores of rows for one query; the score of a row does not depend on filters or on which rows are asked for. */
export declare class QueryScores {
    private readonly tools;
    readonly query: LexicalQuery;
    /** The rows that any word matches. */
    readonly hits: LexicalHits;
    /** The unit vector of the query; empty in lexical mode. */
    readonly vector: Float32Array;
    /** The nearest rows of the whole catalogue: what its layer proposes, in exact order; at least one. */
    readonly nearest: Ranked;
    private constructor();
    /** Read a normalized, not empty text in `mode`: "dense" leaves the words out, "lexical" the vector. */
    static of(text: string, mode: Mode, tools: QueryTools): Promise<QueryScores>;
    /** Whether the model or the index knows anything of the query. */
    get knowsAnything(): boolean;
    /** Return the `k` best eligible rows in `mode`; fewer when fewer are eligible or, by words alone, match. */
    ranking(k: number, eligible: Mask | null, mode: Mode): Promise<Ranked>;
    /** Return the scores of `rows` in `mode`. */
    of(rows: Int32Array, mode: Mode): Float32Array;
    /** Return the cosines of `rows` with this query, or with another unit vector. */
    cosines(rows: Int32Array, vector?: Float32Array): Float32Array;
    /** Mix cosines and lexical scores by the bundle's weight and this query's best scores. */
    hybrid(cosines: Float32Array, lexical: Float32Array): Float32Array;
    private byMeaning;
    private byWords;
}
