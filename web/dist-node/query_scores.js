/** One query's scores: its vector, its words, and what both say of any row (edge_runtime/query_scores.py). */
import {} from "./catalogue.js";
import { isZero } from "./encoder.js";
import {} from "./lexical.js";
import { bestRows, fuse } from "./ranking.js";
/** Each side of a hybrid search proposes at least so many rows. */
export const MIN_CANDIDATES = 100;
export const MODES = ["hybrid", "dense", "lexical"];
const NOTHING = { rows: new Int32Array(0), scores: new Float32Array(0) };
/** Scores of rows for one query; the score of a row does not depend on filters or on which rows are asked for. */
export class QueryScores {
    tools;
    query;
    hits;
    vector;
    nearest;
    constructor(tools, query, 
    /** The rows that any word matches. */
    hits, 
    /** The unit vector of the query; empty in lexical mode. */
    vector, 
    /** The nearest rows of the whole catalogue: what its layer proposes, in exact order; at least one. */
    nearest) {
        this.tools = tools;
        this.query = query;
        this.hits = hits;
        this.vector = vector;
        this.nearest = nearest;
    }
    /** Read a normalized, not empty text in `mode`: "dense" leaves the words out, "lexical" the vector. */
    static async of(text, mode, tools) {
        const { encoder, catalogue, lexicalIndex } = tools;
        const query = mode === "dense" ? { words: [], corrections: {} } : lexicalIndex.understand(text);
        const hits = lexicalIndex.hits(query);
        if (mode === "lexical")
            return new QueryScores(tools, query, hits, new Float32Array(0), NOTHING);
        const vector = await encoder.encodeQuery(text);
        const nearest = catalogue.rescore(vector, await catalogue.propose(vector));
        return new QueryScores(tools, query, hits, vector, nearest);
    }
    /** Whether the model or the index knows anything of the query. */
    get knowsAnything() {
        return !isZero(this.vector) || this.hits.best > 0;
    }
    /** Return the `k` best eligible rows in `mode`; fewer when fewer are eligible or, by words alone, match. */
    async ranking(k, eligible, mode) {
        const count = Math.max(k, MIN_CANDIDATES);
        if (mode === "lexical")
            return this.byWords(k, eligible);
        if (mode === "dense")
            return this.byMeaning(k, eligible);
        const dense = await this.byMeaning(count, eligible);
        const words = this.byWords(count, eligible);
        const rows = Int32Array.from(new Set([...dense.rows, ...words.rows])).sort();
        return bestRows(rows, this.of(rows, mode), k);
    }
    /** Return the scores of `rows` in `mode`. */
    of(rows, mode) {
        if (mode === "lexical")
            return this.hits.of(rows);
        const cosines = this.cosines(rows);
        return mode === "dense" ? cosines : this.hybrid(cosines, this.hits.of(rows));
    }
    /** Return the cosines of `rows` with this query, or with another unit vector. */
    cosines(rows, vector = this.vector) {
        return this.tools.catalogue.cosines(vector, rows);
    }
    /** Mix cosines and lexical scores by the bundle's weight and this query's best scores. */
    hybrid(cosines, lexical) {
        const bestCosine = this.nearest.scores[0];
        return fuse(cosines, lexical, { denseWeight: this.tools.denseWeight, bestCosine, bestLexical: this.hits.best });
    }
    async byMeaning(count, eligible) {
        return this.tools.catalogue.top(this.vector, count, eligible, this.nearest);
    }
    byWords(count, eligible) {
        const { rows, scores } = this.hits;
        const fits = (place) => scores[place] > 0 && (eligible === null || eligible[rows[place]] === 1);
        const kept = rows.filter((_, place) => fits(place));
        return bestRows(kept, scores.filter((_, place) => fits(place)), count);
    }
}
