/** Ranking for a history: nearness to what was bought, and what a product's return is worth (edge_runtime/history_ranking.py). */
import { type Catalogue, type Mask } from "./catalogue.js";
import { type HistoryQuery } from "./encoder.js";
import { type Ranked } from "./ranking.js";
/**
 * Return the best rows by cosine with the query, to which products of the history add their repeats.
 *
 * @param rows the rows of the history in the order of `query.repeats`; a row may stand there twice.
 */
export declare function rankHistory(catalogue: Catalogue, query: HistoryQuery, rows: Int32Array, count: number, eligible: Mask | null): Promise<Ranked>;
