/** Ranking for a history: nearness to what was bought, and what a product's return is worth (edge_runtime/history_ranking.py). */
import {} from "./catalogue.js";
import {} from "./encoder.js";
import { bestRows } from "./ranking.js";
/**
 * Return the best rows by cosine with the query, to which products of the history add their repeats.
 *
 * @param rows the rows of the history in the order of `query.repeats`; a row may stand there twice.
 */
export async function rankHistory(catalogue, query, rows, count, eligible) {
    const sums = new Map();
    rows.forEach((row, place) => sums.set(row, (sums.get(row) ?? 0) + query.repeats[place]));
    const repeats = new Map([...sums].map(([row, sum]) => [row, Math.fround(sum)]));
    // A product that loses by its repeats may leave the best; so many more are asked for that the answer stays exact.
    const losing = [...repeats.values()].filter((value) => value < 0).length;
    const nearest = await catalogue.top(query.vector, count + losing, eligible);
    const found = new Map();
    nearest.rows.forEach((row, place) => {
        if (!repeats.has(row))
            found.set(row, nearest.scores[place]);
    });
    const own = Int32Array.from([...repeats.keys()].filter((row) => eligible === null || eligible[row] === 1));
    catalogue.cosines(query.vector, own).forEach((cosine, place) => {
        const row = own[place];
        found.set(row, Math.fround(cosine + repeats.get(row)));
    });
    return bestRows(Int32Array.from(found.keys()), Float32Array.from(found.values()), count);
}
