/** Recommender: an opened bundle that answers searches, recommends, scores and explains (edge_runtime/recommender.py). */
import { openBundle } from "./bundle.js";
import { Catalogue } from "./catalogue.js";
import { Encoder, isZero, lengthOf } from "./encoder.js";
import { ConfigError } from "./errors.js";
import { explainHistory, explainQuery, } from "./explanation.js";
import {} from "./filters.js";
import { checkGolden, readGolden } from "./golden_proof.js";
import { rankHistory } from "./history_ranking.js";
import { LexicalIndex } from "./lexical.js";
import { CATALOGUE_ROWS_FILE, GOLDEN_FILE } from "./manifest.js";
import { ProductRows } from "./product_rows.js";
import { MODES, QueryScores } from "./query_scores.js";
import { bestRows } from "./ranking.js";
import { RowsDatabase } from "./rows_database.js";
import { normalizeText } from "./text.js";
/** Answers from one bundle; `close` it to free its memory. */
export class Recommender {
    bundle;
    database;
    products;
    tools;
    constructor(bundle, database, products, tools) {
        this.bundle = bundle;
        this.database = database;
        this.products = products;
        this.tools = tools;
    }
    /**
     * Open the bundle whose `manifest.json` lies below a URL, or that a source gives.
     *
     * From a URL it is kept in the browser, updated when the server has another, and opened from there without a network.
     *
     * @throws BundleError the bundle is damaged, malformed or too new.
     * @throws DownloadError there is no network, and nothing was kept.
     * @throws InferenceError the encoder cannot be run here.
     */
    static async open(place) {
        if (typeof place !== "string")
            return Recommender.load(await openBundle(place));
        // The updater opens recommenders and so imports this file.
        const { openNewest } = await import("./updater.js");
        return openNewest(place);
    }
    /** Load the models and open the catalogue of a bundle. */
    static async load(bundle) {
        const { catalogue: spec, fusion } = bundle.manifest;
        const database = await RowsDatabase.open(bundle.file(CATALOGUE_ROWS_FILE));
        try {
            const products = new ProductRows(database, spec.products);
            const lexicalIndex = new LexicalIndex(database, spec.products, fusion);
            const encoder = await Encoder.load(bundle);
            const catalogue = await Catalogue.load(bundle);
            const { denseWeight } = fusion;
            return new Recommender(bundle, database, products, { encoder, catalogue, lexicalIndex, denseWeight });
        }
        catch (error) {
            database.close();
            throw error;
        }
    }
    /** How many products there are. */
    get length() {
        return this.tools.catalogue.length;
    }
    /** Free the bundle's memory; the recommender answers no more. */
    close() {
        this.tools.encoder.close();
        this.tools.catalogue.close();
        this.database.close();
    }
    /**
     * Return the `k` best products for a query; fewer when fewer are eligible or, in lexical mode, match a word.
     *
     * A query in which nothing is known, neither by the model nor by the index, gives the most popular products.
     *
     * @throws ConfigError an empty query, `k` below 1, an unknown field in `where`, or an unknown mode.
     */
    async search(query, options = {}) {
        const { k = 10, mode = "hybrid" } = options;
        checkCount(k);
        const scores = await this.queryScores(query, mode);
        const eligible = this.eligible(options);
        if (mode !== "lexical" && !scores.knowsAnything)
            return this.coldStart(k, eligible, []);
        const rows = await scores.candidates(k, eligible, mode);
        return this.answer(bestRows(rows, scores.of(rows, mode), k), { corrections: scores.query.corrections });
    }
    /**
     * Return the `k` products that fit a purchase history best, products of the history included.
     *
     * Unknown products are left out and named in the answer; an empty or wholly unknown history gives the most popular.
     *
     * @param history product ids, newest last.
     * @throws ConfigError `history` is not a list of ids, `k` below 1, or an unknown field in `where`.
     */
    async recommend(history, options = {}) {
        const { k = 10 } = options;
        checkCount(k);
        const known = this.knownHistory(history);
        const unknown = [...new Set(history.filter((one) => !known.has(one)))];
        const eligible = this.eligible(options);
        const rows = this.newestRows(history, known);
        const { encoder, catalogue } = this.tools;
        const query = await encoder.readHistory(Array.from(rows, (row) => catalogue.vectorOf(row)));
        if (isZero(query.vector))
            return this.coldStart(k, eligible, unknown);
        return this.answer(await rankHistory(catalogue, query, rows, k, eligible), { unknownHistory: unknown });
    }
    /**
     * Return the `k` products nearest to one product, without itself.
     *
     * @throws ConfigError an unknown product, `k` below 1, or an unknown field in `where`.
     */
    async similar(productId, options = {}) {
        const { k = 10, exclude = [] } = options;
        checkCount(k);
        const row = this.knownRow(productId);
        const eligible = this.eligible({ ...options, exclude: [...exclude, productId] });
        const vector = this.tools.catalogue.vectorOf(row);
        const norm = lengthOf(vector);
        return this.answer(await this.tools.catalogue.top(vector.map((value) => value / norm), k, eligible), {});
    }
    /**
     * Return the scores that `search` in the same mode gives these products.
     *
     * @throws ConfigError an empty query, an unknown product or mode.
     */
    async score(query, productIds, mode = "hybrid") {
        const rows = this.knownRows(productIds);
        return (await this.queryScores(query, mode)).of(rows, mode);
    }
    /**
     * Return what each word of the query contributes to the product's hybrid score.
     *
     * @throws ConfigError an empty query or an unknown product.
     */
    async explain(query, productId) {
        const row = this.knownRow(productId);
        const scores = await this.queryScores(query, "hybrid");
        const { lexicalIndex, encoder } = this.tools;
        return explainQuery(scores, normalizeText(query), { productId, row }, lexicalIndex, encoder);
    }
    /**
     * Return what each product of a history contributes to the score of `productId`.
     *
     * @throws ConfigError an unknown product, or a history without a known one.
     */
    async explainHistory(history, productId) {
        const { catalogue, encoder } = this.tools;
        const item = (id, row) => ({ productId: id, vector: catalogue.vectorOf(row) });
        const target = item(productId, this.knownRow(productId));
        const known = this.knownHistory(history);
        const ids = history.filter((one) => known.has(one)).slice(-encoder.historyItems);
        if (ids.length === 0) {
            throw new ConfigError("the catalogue knows no product of this history, so there is nothing to explain");
        }
        return explainHistory(encoder, ids.map((one) => item(one, known.get(one))), target);
    }
    /**
     * Return the row of a product for display.
     *
     * @throws ConfigError an unknown product.
     */
    product(productId) {
        return this.products.product(this.knownRow(productId));
    }
    /** Return whether the catalogue has a product. */
    has(productId) {
        return this.products.rowsOf([productId]).size > 0;
    }
    /** Return the token ids of a text, as the model reads them. */
    tokenIds(text) {
        return this.tools.encoder.tokenIds(checkedText(text));
    }
    /** Return the unit vector of a query; zero when the model knows no token of it. */
    async encodeQuery(text) {
        return this.tools.encoder.encodeQuery(checkedText(text));
    }
    /** Return the unit vector of an item's text (docs/bundle-format.md). */
    async encodeItem(text) {
        return this.tools.encoder.encodeItem(checkedText(text));
    }
    /** Return the unit vector of a history of product ids, newest last; zero when none is known. */
    async encodeHistory(history) {
        const rows = this.newestRows(history, this.knownHistory(history));
        const vectors = Array.from(rows, (row) => this.tools.catalogue.vectorOf(row));
        return (await this.tools.encoder.readHistory(vectors)).vector;
    }
    /**
     * Check that this device gives the golden answers of the bundle.
     *
     * @throws GoldenMismatchError it does not; the text names the first answer that differs.
     */
    async prove() {
        return checkGolden(this, readGolden(this.bundle.file(GOLDEN_FILE)));
    }
    async queryScores(query, mode) {
        if (!MODES.includes(mode)) {
            throw new ConfigError(`unknown mode '${mode}', expected one of ${MODES.join(", ")}`);
        }
        return QueryScores.of(checkedText(query), mode, this.tools);
    }
    eligible({ where, exclude = [] }) {
        if (typeof exclude === "string") {
            throw new ConfigError(`exclude takes a list of product ids, found the text '${String(exclude)}'`);
        }
        const mask = where !== undefined && Object.keys(where).length > 0 ? this.products.matching(where) : null;
        const excluded = exclude.length > 0 ? [...this.products.rowsOf(exclude).values()] : [];
        if (excluded.length === 0)
            return mask;
        const allowed = mask?.slice() ?? new Uint8Array(this.length).fill(1);
        for (const row of excluded)
            allowed[row] = 0;
        return allowed;
    }
    coldStart(k, eligible, unknownHistory) {
        return { ...this.answer(this.products.mostPopular(k, eligible), { unknownHistory }), coldStart: true };
    }
    answer(ranked, more) {
        const productIds = this.products.idsOf(ranked.rows);
        return { productIds, scores: ranked.scores, corrections: {}, unknownHistory: [], coldStart: false, ...more };
    }
    knownHistory(history) {
        checkIds(history, "history");
        return this.products.rowsOf([...new Set(history)]);
    }
    newestRows(history, known) {
        const rows = history.filter((one) => known.has(one)).map((one) => known.get(one));
        return Int32Array.from(rows.slice(-this.tools.encoder.historyItems));
    }
    knownRow(productId) {
        return this.knownRows([productId])[0];
    }
    knownRows(productIds) {
        checkIds(productIds, "productIds");
        const known = this.products.rowsOf([...new Set(productIds)]);
        for (const one of productIds) {
            if (!known.has(one)) {
                throw new ConfigError(`the catalogue has no product '${one}'; 'search' shows which there are`);
            }
        }
        return Int32Array.from(productIds, (one) => known.get(one));
    }
}
function checkedText(text) {
    if (typeof text !== "string")
        throw new ConfigError(`expected a text, found ${typeof text}`);
    if (normalizeText(text) === "") {
        throw new ConfigError("the text is empty; give at least one word, or use 'recommend' for an answer without a query");
    }
    return text;
}
function checkCount(k) {
    if (!Number.isInteger(k) || k < 1) {
        throw new ConfigError(`k must be a whole number of at least 1, found ${String(k)}`);
    }
}
function checkIds(productIds, name) {
    if (!Array.isArray(productIds) || productIds.some((one) => typeof one !== "string")) {
        throw new ConfigError(`${name} takes a list of product ids (texts), found ${JSON.stringify(productIds)}`);
    }
}
