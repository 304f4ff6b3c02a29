/** Words -> rows by BM25 and coverage over the full-text index, with a correction of unknown words (edge_runtime/lexical.py). */
import { BundleFormatError } from "./errors.js";
import {} from "./manifest.js";
import { Remembered } from "./remembered.js";
import {} from "./rows_database.js";
import { compareCodePoints, editDistance, foldWord, trigramsOf, wordsOf } from "./spelling.js";
import { cut, normalizeText } from "./text.js";
export const FIELDS = ["title", "brand", "category", "attributes", "description"];
export const ANY_FIELD = "any";
/** Of a longer query, the first distinct words count for the lexical side. */
export const MAX_WORDS = 64;
const MAX_WORD_CHARS = 64;
const CANDIDATES = 200;
const CORRECTIONS = 2;
const REMEMBERED_TERMS = 256;
const REMEMBERED_CORRECTIONS = 1_024;
/** Return all terms of a query, in order, each once. */
export function termsOf(query) {
    return [...new Set(query.words.flat())];
}
/** The full-text side of `catalogue.sqlite`. */
export class LexicalIndex {
    database;
    products;
    hitsSql;
    common;
    coverageWeights;
    hits = new Remembered(REMEMBERED_TERMS);
    corrected = new Remembered(REMEMBERED_CORRECTIONS);
    /**
     * Prepare the queries.
     *
     * @throws BundleFormatError a weight for a column that does not exist.
     */
    constructor(database, products, fusion) {
        this.database = database;
        this.products = products;
        const known = new Set(FIELDS);
        const coverage = Object.keys(fusion.coverageWeights).filter((name) => name !== ANY_FIELD);
        const unknown = [...Object.keys(fusion.fieldWeights), ...coverage].filter((name) => !known.has(name)).sort();
        if (unknown.length > 0) {
            throw new BundleFormatError(`the manifest weights the text column '${String(unknown[0])}', known are ${FIELDS.join(", ")}; ` +
                "build the bundle again");
        }
        this.coverageWeights = Object.entries(fusion.coverageWeights);
        const weights = FIELDS.map((name) => asReal(fusion.fieldWeights[name] ?? 1)).join(", ");
        this.hitsSql = `SELECT rowid, -bm25(search, ${weights}) FROM search WHERE search MATCH ?`;
        this.common = new Set(database.fetch("SELECT term FROM common_terms").map((row) => String(row[0])));
    }
    /**
     * Return the words of `text` as the index knows them.
     *
     * Words of more than half of all products are left out, for they decide nothing, unless there are no others.
     */
    understand(text) {
        const folded = wordsOf(normalizeText(text)).map((word) => cut(foldWord(word), MAX_WORD_CHARS));
        const words = [...new Set(folded.filter((word) => word !== ""))];
        const rare = words.filter((word) => !this.common.has(word));
        const alternatives = new Map();
        const corrections = {};
        for (const word of (rare.length > 0 ? rare : words).slice(0, MAX_WORDS)) {
            const found = this.hitsOf(word).rows.length > 0 ? [] : this.correctionsOf(word);
            if (found.length > 0)
                corrections[word] = found;
            const terms = found.length > 0 ? found : [word];
            alternatives.set(terms.join("\n"), terms);
        }
        return { words: [...alternatives.values()], corrections };
    }
    /** Return the lexical score of each row (docs/bundle-format.md), 0 where no term matches. */
    scores(query) {
        const { bm25, coverage } = this.parts(query);
        const best = maximum(bm25);
        const scores = best > 0 ? bm25.map((value) => value / best) : bm25.slice();
        for (const [name, weight] of this.coverageWeights) {
            const covered = coverage.get(name);
            const rounded = Math.fround(weight);
            for (let row = 0; row < scores.length; row++) {
                const share = covered[row];
                if (share !== 0)
                    scores[row] = scores[row] + Math.fround(rounded * share);
            }
        }
        return scores;
    }
    /** Return what `scores` weighs. */
    parts(query) {
        const bm25 = new Float32Array(this.products);
        for (const term of termsOf(query)) {
            const hits = this.hitsOf(term);
            hits.rows.forEach((row, place) => {
                bm25[row] = bm25[row] + hits.bm25[place];
            });
        }
        const coverage = new Map(this.coverageWeights.map(([name]) => [name, new Float32Array(this.products)]));
        let total = 0;
        for (const word of coverage.size > 0 ? query.words : []) {
            const rows = this.rowsWith(word, ANY_FIELD);
            const rarity = Math.log1p((this.products - rows.length + 0.5) / (rows.length + 0.5));
            total += rarity;
            const added = Math.fround(rarity);
            for (const [name, covered] of coverage) {
                for (const row of name === ANY_FIELD ? rows : this.rowsWith(word, name)) {
                    covered[row] = covered[row] + added;
                }
            }
        }
        const whole = Math.fround(Math.max(total, 1e-6));
        for (const covered of coverage.values()) {
            for (let row = 0; row < covered.length; row++) {
                if (covered[row] !== 0)
                    covered[row] = covered[row] / whole;
            }
        }
        return { bm25, coverage };
    }
    /** Return the text columns of the product in `row` that hold `term` or a form of it. */
    fieldsWith(term, row) {
        const sql = "SELECT 1 FROM search WHERE search MATCH ? AND rowid = ?";
        return FIELDS.filter((name) => this.database.fetch(sql, [`${name} : ${quoted(term)}`, row]).length > 0);
    }
    rowsWith(word, name) {
        const found = word.map((term) => {
            const hits = this.hitsOf(term);
            return name === ANY_FIELD ? hits.rows : hits.byField.get(name);
        });
        if (found.length === 1)
            return found[0];
        return Int32Array.from(new Set(found.flatMap((rows) => Array.from(rows)))).sort();
    }
    hitsOf(term) {
        return this.hits.get(term, () => this.askHits(term));
    }
    correctionsOf(word) {
        return this.corrected.get(word, () => this.askCorrections(word));
    }
    askHits(term) {
        const rows = [];
        const scores = [];
        this.database.each(this.hitsSql, [quoted(term)], (hit) => {
            rows.push(hit.getInt(0));
            scores.push(Math.max(hit.getFloat(1), 0));
        });
        if (rows.some((row) => row < 0 || row >= this.products)) {
            throw new BundleFormatError("the full-text index names a row that does not exist; get the bundle again");
        }
        const columns = this.coverageWeights.map(([name]) => name).filter((name) => name !== ANY_FIELD);
        const byField = new Map(columns.map((name) => [name, this.askRows(term, name)]));
        return { rows: Int32Array.from(rows), bm25: Float32Array.from(scores), byField };
    }
    askRows(term, name) {
        const rows = [];
        this.database.each("SELECT rowid FROM search WHERE search MATCH ?", [`${name} : ${quoted(term)}`], (hit) => rows.push(hit.getInt(0)));
        return Int32Array.from(rows);
    }
    askCorrections(word) {
        const limit = editsAllowed(word);
        if (limit === 0)
            return [];
        const pieces = trigramsOf(word);
        const length = Array.from(word).length;
        const union = pieces.map(() => "SELECT rowid AS id FROM trigrams WHERE trigrams MATCH ?").join(" UNION ALL ");
        const sql = `SELECT term, products FROM (SELECT id, count(*) AS shared FROM (${union}) GROUP BY id) ` +
            "JOIN terms ON term_id = id WHERE abs(length(term) - ?) <= ? " +
            "ORDER BY shared DESC, abs(length(term) - ?), id LIMIT ?";
        const near = this.database.fetch(sql, [...pieces.map(quoted), length, limit, length, CANDIDATES]);
        const ranked = near.map(([term, products]) => ({
            term: String(term),
            products: Number(products),
            distance: editDistance(word, String(term), limit),
        }));
        ranked.sort((a, b) => a.distance - b.distance || b.products - a.products || compareCodePoints(a.term, b.term));
        const nearest = ranked[0]?.distance ?? limit + 1;
        if (nearest > limit)
            return [];
        return ranked.filter((one) => one.distance === nearest).slice(0, CORRECTIONS).map((one) => one.term);
    }
}
/** A short word is one edit away from too many others, a number from every other number. */
function editsAllowed(word) {
    const length = Array.from(word).length;
    if (!/^\p{L}+$/u.test(word) || length > 24 || length < 4)
        return 0;
    return length < 7 ? 1 : 2;
}
/** Quote a term for FTS5, so that no word is ever read as its syntax. */
function quoted(term) {
    return `"${term.replaceAll('"', '""')}"`;
}
/** Write a number so that SQL reads a real one. */
function asReal(value) {
    return Number.isInteger(value) ? value.toFixed(1) : String(value);
}
/** Return the greatest value. */
export function maximum(values) {
    let best = -Infinity;
    for (const value of values)
        if (value > best)
            best = value;
    return best;
}
