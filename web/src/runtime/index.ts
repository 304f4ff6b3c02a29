/** What an app imports: `import { Recommender } from "pocketrec-web"`. */

export type { Artifact, Manifest } from "./manifest.js";
export { decodeManifest } from "./manifest.js";
export type { BundleSource } from "./bundle.js";
export { Bundle, openBundle } from "./bundle.js";
export { bucket, choose, inShare } from "./cohort.js";
export { setWasmFolder } from "./environment.js";
export * from "./errors.js";
export type { Explanation, HistoryExplanation, WordContribution } from "./explanation.js";
export type { FacetValue } from "./facets.js";
export type { PriceRange, Where } from "./filters.js";
export type { Proof } from "./golden_proof.js";
export { HttpSource } from "./http_source.js";
export type { ProductRow } from "./product_rows.js";
export type { Mode } from "./query_scores.js";
export { fuse } from "./ranking.js";
export type { FacetOptions, Options, Recommendations, SearchOptions } from "./recommender.js";
export { Recommender } from "./recommender.js";
export type { Sort } from "./searching.js";
export { editDistance, foldWord, trigramsOf, wordsOf } from "./spelling.js";
export type { Suggestion } from "./suggestions.js";
export { normalizeText } from "./text.js";
export type { Installed } from "./updater.js";
export { Updater } from "./updater.js";
