/** Other orders than relevance, and the rows that facets count. */

import { isZero } from "../inference/encoder.js";
import { type ProductColumns } from "../products/columns.js";
import { type ProductRows } from "../products/product_rows.js";
import { MIN_CANDIDATES, type QueryScores } from "./query_scores.js";
import { type Ranked } from "./ranking.js";
import { type Mask } from "./vector_index.js";

/** An order of products: numbers lowest first, or with "-" highest first. */
export type Sort = "relevance" | "popularity" | "price" | "-price" | "rating" | "-rating" | "title";
export const SORTS: readonly Sort[] = ["relevance", "popularity", "price", "-price", "rating", "-rating", "title"];

/** Return the rows in another order, ties by relevance; products without such a number come last. */
export function sortedRows(ranked: Ranked, sort: Sort, products: ProductRows, columns: ProductColumns): Ranked {
  if (sort === "relevance") return ranked;
  const keys = Array.from(ranked.rows, keyOf(sort, products, columns));
  const order = [...keys.keys()].sort((a, b) => compared(keys[a] as number, keys[b] as number) || a - b);
  return {
    rows: Int32Array.from(order, (place) => ranked.rows[place] as number),
    scores: Float32Array.from(order, (place) => ranked.scores[place] as number),
  };
}

/** Return how many of the most relevant rows are ranked for an answer of `count`, so that reordered pages fit together. */
export function poolSize(count: number, sort: Sort): number {
  return sort === "relevance" ? count : Math.max(count, MIN_CANDIDATES);
}

/** Return the rows that any word matches, or the nearest ones when none does. */
export function matchingRows(scores: QueryScores, products: number): Mask {
  const mask = new Uint8Array(products);
  for (const row of scores.hits.rows) mask[row] = 1;
  if (scores.hits.rows.length === 0 && !isZero(scores.vector)) for (const row of scores.nearest.rows) mask[row] = 1;
  return mask;
}

function keyOf(sort: Sort, products: ProductRows, columns: ProductColumns): (row: number) => number {
  if (sort === "title") {
    const places = columns.titleOrder();
    return (row) => places[row] as number;
  }
  if (sort === "popularity") {
    const popularity = products.popularity();
    return (row) => -(popularity[row] as number);
  }
  const isFalling = sort.startsWith("-");
  const numbers = columns.numbers(isFalling ? sort.slice(1) : sort);
  return (row) => (Number.isNaN(numbers[row]) ? Infinity : (isFalling ? -1 : 1) * (numbers[row] as number));
}

function compared(left: number, right: number): number {
  return left === right ? 0 : left - right;
}
