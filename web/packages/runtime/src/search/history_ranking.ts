/** Ranking for a history: nearness to what was bought, and what a product's return is worth. */

import { type HistoryQuery } from "../inference/encoder.js";
import { bestRows, type Ranked } from "./ranking.js";
import { type Catalogue, type Mask } from "./vector_index.js";

/**
 * Return the best rows by cosine with the query, to which products of the history add their repeats.
 *
 * @param rows the rows of the history in the order of `query.repeats`; a row may stand there twice.
 */
export async function rankHistory(
  catalogue: Catalogue,
  query: HistoryQuery,
  rows: Int32Array,
  count: number,
  eligible: Mask | null,
): Promise<Ranked> {
  const sums = new Map<number, number>();
  rows.forEach((row, place) => sums.set(row, (sums.get(row) ?? 0) + (query.repeats[place] as number)));
  const repeats = new Map([...sums].map(([row, sum]) => [row, Math.fround(sum)]));
  // A product that loses by its repeats may leave the best; so many more are asked for that the answer stays exact.
  const losing = [...repeats.values()].filter((value) => value < 0).length;
  const nearest = await catalogue.top(query.vector, count + losing, eligible);
  const found = new Map<number, number>();
  nearest.rows.forEach((row, place) => {
    if (!repeats.has(row)) found.set(row, nearest.scores[place] as number);
  });
  const own = Int32Array.from([...repeats.keys()].filter((row) => eligible === null || eligible[row] === 1));
  catalogue.cosines(query.vector, own).forEach((cosine, place) => {
    const row = own[place] as number;
    found.set(row, Math.fround(cosine + (repeats.get(row) as number)));
  });
  return bestRows(Int32Array.from(found.keys()), Float32Array.from(found.values()), count);
}
