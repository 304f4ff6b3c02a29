/**
 * Searches a bundle in Node, without a network: node search.mjs BUNDLE QUERY [ID ...]
 *
 * With ids, recommends what fits to these purchases instead of searching for QUERY. Prints JSON. Build once with `make web`.
 */

import { Recommender } from "pocketrec-web";
import { FolderSource } from "pocketrec-web/node";

const [bundle, query, ...history] = process.argv.slice(2);
if (bundle === undefined || query === undefined) {
  console.error("usage: node search.mjs BUNDLE QUERY [ID ...]");
  process.exit(2);
}

const shop = await Recommender.open(new FolderSource(bundle));
const proof = await shop.prove();
const started = performance.now();
const answer = history.length > 0 ? await shop.recommend(history) : await shop.search(query);
const latency_ms = performance.now() - started;
const products = answer.productIds.map((id, place) => ({ ...shop.product(id), score: answer.scores[place] }));
console.log(JSON.stringify({ products, corrections: answer.corrections, latency_ms, proof }));
shop.close();
