/** What an app imports: `import { Recommender } from "pocketrec-web"`. */
export { decodeManifest } from "./manifest.js";
export { Bundle, openBundle } from "./bundle.js";
export { bucket, choose, inShare } from "./cohort.js";
export { setWasmFolder } from "./environment.js";
export * from "./errors.js";
export { HttpSource } from "./http_source.js";
export { fuse } from "./ranking.js";
export { Recommender } from "./recommender.js";
export { editDistance, foldWord, trigramsOf, wordsOf } from "./spelling.js";
export { normalizeText } from "./text.js";
export { Updater } from "./updater.js";
