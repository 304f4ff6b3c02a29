/** Words -> rows by BM25 and coverage over the full-text index, with a correction of unknown words (edge_runtime/lexical.py). */
import { type Manifest } from "./manifest.js";
import { type RowsDatabase } from "./rows_database.js";
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
/** The rows that any term matches, rising, and their lexical scores. */
export declare class LexicalHits {
    readonly rows: Int32Array;
    readonly scores: Float32Array;
    /** The best score, 0 when nothing matches. */
    readonly best: number;
    constructor(rows: Int32Array, scores: Float32Array);
    /** Return the scores of any rows, 0 for those without a term. */
    of(rows: Int32Array): Float32Array;
}
/** Return all terms of a query, in order, each once. */
export declare function termsOf(query: LexicalQuery): string[];
/** The full-text side of `catalogue.sqlite`. */
export declare class LexicalIndex {
    private readonly database;
    private readonly products;
    private readonly postings;
    private readonly sums;
    private readonly common;
    private readonly coverageWeights;
    private readonly corrected;
    /**
     * Prepare the queries.
     *
     * @throws BundleFormatError a weight for a column that does not exist.
     */
    constructor(database: RowsDatabase, products: number, fusion: Manifest["fusion"]);
    /**
     * Return the words of `text`, which `normalizeText` gave, as the index knows them.
     *
     * Words of more than half of all products are left out, for they decide nothing, unless there are no others.
     */
    understand(text: string): LexicalQuery;
    /** Return the rows with any term of the query and their lexical scores (docs/bundle-format.md). */
    hits(query: LexicalQuery): LexicalHits;
    /** Return for each text column, or "any", the share of the query's words that each of `rows` holds, by rarity. */
    private coverage;
    /** Return for each of `rows` the sum of what is added to it; an addend's rows are distinct and among `rows`. */
    private summed;
    /** Return the rows of any of `found`, rising, each once. */
    private union;
    /** Return the text columns of the product in `row` that hold `term` or a form of it. */
    fieldsWith(term: string, row: number): string[];
    /** Return the rows that hold any of a word's terms in a text column, each once. */
    private rowsWith;
    private correctionsOf;
    private askCorrections;
}
/** Return the greatest value. */
export declare function maximum(values: Float32Array): number;
