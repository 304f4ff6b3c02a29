/** Words -> rows by BM25 and coverage over the full-text index, with a correction of unknown words (edge_runtime/lexical.py). */
import { type Manifest } from "./manifest.js";
import { type RowsDatabase } from "./rows_database.js";
export declare const FIELDS: readonly ["title", "brand", "category", "attributes", "description"];
export declare const ANY_FIELD = "any";
/** Of a longer query, the first distinct words count for the lexical side. */
export declare const MAX_WORDS = 64;
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
/** Return all terms of a query, in order, each once. */
export declare function termsOf(query: LexicalQuery): string[];
/** The full-text side of `catalogue.sqlite`. */
export declare class LexicalIndex {
    private readonly database;
    private readonly products;
    private readonly hitsSql;
    private readonly common;
    private readonly coverageWeights;
    private readonly hits;
    private readonly corrected;
    /**
     * Prepare the queries.
     *
     * @throws BundleFormatError a weight for a column that does not exist.
     */
    constructor(database: RowsDatabase, products: number, fusion: Manifest["fusion"]);
    /**
     * Return the words of `text` as the index knows them.
     *
     * Words of more than half of all products are left out, for they decide nothing, unless there are no others.
     */
    understand(text: string): LexicalQuery;
    /** Return the lexical score of each row (docs/bundle-format.md), 0 where no term matches. */
    scores(query: LexicalQuery): Float32Array;
    /** Return what `scores` weighs. */
    parts(query: LexicalQuery): LexicalParts;
    /** Return the text columns of the product in `row` that hold `term` or a form of it. */
    fieldsWith(term: string, row: number): string[];
    private rowsWith;
    private hitsOf;
    private correctionsOf;
    private askHits;
    private askRows;
    private askCorrections;
}
/** Return the greatest value. */
export declare function maximum(values: Float32Array): number;
