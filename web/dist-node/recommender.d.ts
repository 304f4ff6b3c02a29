/** Recommender: an opened bundle that answers searches, recommends, scores and explains (edge_runtime/recommender.py). */
import { type Bundle, type BundleSource } from "./bundle.js";
import { type Explanation, type HistoryExplanation } from "./explanation.js";
import { type FacetValue } from "./facets.js";
import { type Where } from "./filters.js";
import { type Proof } from "./golden_proof.js";
import { type ProductRow } from "./product_rows.js";
import { type Mode } from "./query_scores.js";
import { type Sort } from "./searching.js";
import { type Suggestion } from "./suggestions.js";
/** Which products may be returned, and how many. */
export interface Options {
    /** How many products, at least 1; 10 when left out. */
    readonly k?: number;
    /** Filter (filters.ts). */
    readonly where?: Where;
    /** Product ids that must not be returned. */
    readonly exclude?: readonly string[];
}
/** How a query is answered. */
export interface SearchOptions extends Options {
    /** How many to leave out before: the next page has `offset: k`. */
    readonly offset?: number;
    readonly mode?: Mode;
    /** Another order of the most relevant products; at least 100 are put in order. */
    readonly sort?: Sort;
}
/** What facets count. */
export interface FacetOptions {
    /** "brand", "category", "group", "price" or "attributes.NAME". */
    readonly by?: readonly string[];
    readonly where?: Where;
    /** At most so many values of a field. */
    readonly limit?: number;
}
/** Products, best first. */
export interface Recommendations {
    readonly productIds: readonly string[];
    /** Falling. Hybrid: 0 … 1; dense: cosine; histories: cosine and what repeats; lexical: BM25; cold start: popularity. */
    readonly scores: Float32Array;
    /** Words of the query that no product has -> the catalogue's words that were looked for instead. */
    readonly corrections: Readonly<Record<string, readonly string[]>>;
    /** Products of the history that the catalogue does not know; they were left out. */
    readonly unknownHistory: readonly string[];
    /** Nothing was known of the query or history, so these are the most popular products. */
    readonly coldStart: boolean;
}
/** Answers from one bundle; `close` it to free its memory. */
export declare class Recommender {
    readonly bundle: Bundle;
    private readonly database;
    private readonly products;
    private readonly columns;
    private readonly suggestions;
    private readonly tools;
    private constructor();
    /**
     * Open the bundle whose `manifest.json` lies below a URL, or that a source gives.
     *
     * From a URL it is kept in the browser, updated when the server has another, and opened from there without a network.
     *
     * @throws BundleError the bundle is damaged, malformed or too new.
     * @throws DownloadError there is no network, and nothing was kept.
     * @throws InferenceError the encoder cannot be run here.
     */
    static open(place: string | BundleSource): Promise<Recommender>;
    /** Load the models and open the catalogue of a bundle. */
    static load(bundle: Bundle): Promise<Recommender>;
    /** How many products there are. */
    get length(): number;
    /** Free the bundle's memory; the recommender answers no more. */
    close(): void;
    /**
     * Return the `k` best products for a query; fewer when fewer are eligible or, in lexical mode, match a word.
     *
     * A query in which nothing is known, neither by the model nor by the index, gives the most popular products.
     *
     * @throws ConfigError an empty query, `k` below 1, an unknown field in `where`, or an unknown mode.
     */
    search(query: string, options?: SearchOptions): Promise<Recommendations>;
    /**
     * Return a page of all eligible products in an order, without a query; the scores are their popularity.
     *
     * @throws ConfigError `k` below 1, an unknown field in `where`, or an unknown sort.
     */
    browse(options?: Options & {
        readonly offset?: number;
        readonly sort?: Sort;
    }): Recommendations;
    /**
     * Return how many matching products each value of some fields has, exactly, by field.
     *
     * The matching products are those in which a word of the query occurs (or, when none has any, the nearest ones) and
     * which fulfil `where`. The filter on a field itself does not count for that field, so that another can be chosen.
     *
     * @param query what a person typed; null for the whole catalogue.
     * @throws ConfigError an empty query, or an unknown field in `by` or `where`.
     */
    facets(query: string | null, options?: FacetOptions): Promise<Record<string, readonly FacetValue[]>>;
    /**
     * Return at most `k` completions of what is being typed: queries, brands, categories, words, titles.
     *
     * @throws ConfigError not a text, or `k` below 1.
     */
    suggest(prefix: string, k?: number): readonly Suggestion[];
    /**
     * Return the `k` products that fit a purchase history best, products of the history included.
     *
     * Unknown products are left out and named in the answer; an empty or wholly unknown history gives the most popular.
     *
     * @param history product ids, newest last.
     * @throws ConfigError `history` is not a list of ids, `k` below 1, or an unknown field in `where`.
     */
    recommend(history: readonly string[], options?: Options): Promise<Recommendations>;
    /**
     * Return the `k` products nearest to one product, without itself.
     *
     * @throws ConfigError an unknown product, `k` below 1, or an unknown field in `where`.
     */
    similar(productId: string, options?: Options): Promise<Recommendations>;
    /**
     * Return the scores that `search` in the same mode gives these products.
     *
     * @throws ConfigError an empty query, an unknown product or mode.
     */
    score(query: string, productIds: readonly string[], mode?: Mode): Promise<Float32Array>;
    /**
     * Return what each word of the query contributes to the product's hybrid score.
     *
     * @throws ConfigError an empty query or an unknown product.
     */
    explain(query: string, productId: string): Promise<Explanation>;
    /**
     * Return what each product of a history contributes to the score of `productId`.
     *
     * @throws ConfigError an unknown product, or a history without a known one.
     */
    explainHistory(history: readonly string[], productId: string): Promise<HistoryExplanation>;
    /**
     * Return the row of a product for display.
     *
     * @throws ConfigError an unknown product.
     */
    product(productId: string): ProductRow;
    /** Return whether the catalogue has a product. */
    has(productId: string): boolean;
    /** Return the token ids of a text, as the model reads them. */
    tokenIds(text: string): readonly number[];
    /** Return the unit vector of a query; zero when the model knows no token of it. */
    encodeQuery(text: string): Promise<Float32Array>;
    /** Return the unit vector of an item's text (docs/bundle-format.md). */
    encodeItem(text: string): Promise<Float32Array>;
    /** Return the unit vector of a history of product ids, newest last; zero when none is known. */
    encodeHistory(history: readonly string[]): Promise<Float32Array>;
    /**
     * Check that this device gives the golden answers of the bundle.
     *
     * @throws GoldenMismatchError it does not; the text names the first answer that differs.
     */
    prove(): Promise<Proof>;
    private queryScores;
    private eligible;
    private coldStart;
    private answer;
    private knownHistory;
    private newestRows;
    private knownRow;
    private knownRows;
}
