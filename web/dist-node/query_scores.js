/** One query's scores: its vector, its words, and what both say of any row (edge_runtime/query_scores.py). */
import {} from "./catalogue.js";
import { isZero } from "./encoder.js";
import { maximum } from "./lexical.js";
import { bestRows, fuse } from "./ranking.js";
/** Each side of a hybrid search proposes at least so many rows. */
export const MIN_CANDIDATES = 100;
export const MODES = ["hybrid", "dense", "lexical"];
/** Scores of rows for one query; the score of a row does not depend on filters or on which rows are asked for. */
export class QueryScores {
    tools;
    query;
    lexical;
    vector;
    bestCosine;
    /** The best lexical score of the whole catalogue, 0 when no word matches. */
    bestLexical;
    constructor(tools, query, lexical, vector, bestCosine) {
        this.tools = tools;
        this.query = query;
        this.lexical = lexical;
        this.vector = vector;
        this.bestCosine = bestCosine;
        this.bestLexical = maximum(lexical);
    }
    /** Read the query in `mode`: "dense" leaves the words out, "lexical" the vector. */
    static async of(text, mode, tools) {
        const { encoder, catalogue, lexicalIndex } = tools;
        const query = mode === "dense" ? { words: [], corrections: {} } : lexicalIndex.understand(text);
        const vector = mode === "lexical" ? new Float32Array(0) : await encoder.encodeQuery(text);
        const best = mode === "hybrid" ? (await catalogue.top(vector, 1)).scores[0] : 0;
        return new QueryScores(tools, query, lexicalIndex.scores(query), vector, best);
    }
    /** Whether the model or the index knows anything of the query. */
    get knowsAnything() {
        return !isZero(this.vector) || this.bestLexical > 0;
    }
    /** Return the rows among which the `k` best are, each once, rising. */
    async candidates(k, eligible, mode) {
        const { catalogue } = this.tools;
        const count = Math.max(k, MIN_CANDIDATES);
        const chosen = new Set();
        if (mode !== "lexical") {
            for (const row of (await catalogue.top(this.vector, count, eligible)).rows)
                chosen.add(row);
        }
        if (mode !== "dense") {
            const rows = [];
            this.lexical.forEach((score, row) => {
                if (score > 0 && (eligible === null || eligible[row] === 1))
                    rows.push(row);
            });
            const matching = Int32Array.from(rows);
            for (const row of bestRows(matching, this.lexicalOf(matching), count).rows)
                chosen.add(row);
        }
        return Int32Array.from(chosen).sort();
    }
    /** Return the scores of `rows` in `mode`. */
    of(rows, mode) {
        if (mode === "lexical")
            return this.lexicalOf(rows);
        const cosines = this.cosines(rows);
        return mode === "dense" ? cosines : this.hybrid(cosines, this.lexicalOf(rows));
    }
    /** Return the lexical scores of `rows`. */
    lexicalOf(rows) {
        return Float32Array.from(rows, (row) => this.lexical[row]);
    }
    /** Return the cosines of `rows` with this query, or with another unit vector. */
    cosines(rows, vector = this.vector) {
        return this.tools.catalogue.cosines(vector, rows);
    }
    /** Mix cosines and lexical scores by the bundle's weight and this query's best scores. */
    hybrid(cosines, lexical) {
        const { bestCosine, bestLexical } = this;
        return fuse(cosines, lexical, { denseWeight: this.tools.denseWeight, bestCosine, bestLexical });
    }
}
