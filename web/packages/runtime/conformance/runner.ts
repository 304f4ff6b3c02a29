/** Asks this runtime what the Python reference was asked, and compares (tests/data/conformance). */

import { type BundleSource, openBundle } from "../src/contract/bundle.js";
import { bucket, choose } from "../src/contract/cohort.js";
import { type Artifact, decodeManifest } from "../src/contract/manifest.js";
import { normalizeText } from "../src/contract/text.js";
import { loadTokenizer } from "../src/inference/encoder.js";
import { type Where } from "../src/products/filters.js";
import { type Recommendations, Recommender } from "../src/recommender.js";
import { type Sort } from "../src/search/pipeline.js";
import { type Mode } from "../src/search/query_scores.js";
import { fuse } from "../src/search/ranking.js";
import { editDistance, foldWord, trigramsOf, wordsOf } from "../src/search/spelling.js";
import { Catalogue } from "../src/search/vector_index.js";

/** How far a float32 result may be from the reference, whose kernels add in another order. */
const TOLERANCE = 2e-5;

/** What was compared, and what differed. */
export interface Outcome {
  checks: number;
  failures: string[];
}

type Json = Record<string, unknown>;
type Read = (name: string) => Promise<Json>;

/** Return whether two JSON values are alike, numbers within `tolerance`. */
function alike(found: unknown, expected: unknown, tolerance: number): boolean {
  if (typeof expected === "number" && typeof found === "number") {
    return Math.abs(found - expected) <= tolerance * Math.max(1, Math.abs(expected));
  }
  if (Array.isArray(expected) && Array.isArray(found)) {
    return expected.length === found.length && expected.every((one, place) => alike(found[place], one, tolerance));
  }
  if (typeof expected === "object" && expected !== null && typeof found === "object" && found !== null) {
    const keys = Object.keys(expected);
    if (keys.length !== Object.keys(found).length) return false;
    return keys.every((key) => alike((found as Json)[key], (expected as Json)[key], tolerance));
  }
  return found === expected;
}

class Checker {
  readonly outcome: Outcome = { checks: 0, failures: [] };

  compare(what: string, found: unknown, expected: unknown, tolerance = 0): void {
    this.outcome.checks += 1;
    if (alike(found, expected, tolerance)) return;
    this.outcome.failures.push(
      `${what}: expected ${JSON.stringify(expected).slice(0, 300)}, found ${JSON.stringify(found).slice(0, 300)}`,
    );
  }
}

/**
 * Run the whole suite.
 *
 * @param read gives a file of the suite, parsed.
 * @param source the golden bundle.
 */
export async function runConformance(read: Read, source: BundleSource): Promise<Outcome> {
  const checker = new Checker();
  checkText(checker, await read("text.json"));
  checkTokenizer(checker, await read("tokenizer.json"));
  checkCohort(checker, await read("cohort.json"));
  checkFusion(checker, await read("fusion.json"));
  const catalogue = await Catalogue.load(await openBundle(source));
  await checkCatalogue(checker, await read("catalogue.json"), catalogue);
  catalogue.close();
  const recommender = await Recommender.load(await openBundle(source));
  await checkEncoder(checker, await read("encoder.json"), recommender);
  await checkExplain(checker, await read("explain.json"), recommender);
  await checkOrders(checker, await read("orders.json"), recommender);
  await recommender.prove();
  recommender.close();
  for (const name of ["search.json", "search_coverage.json"]) await checkSearch(checker, await read(name), source);
  return checker.outcome;
}

/** Compare how manifests of the attack suite are taken: the name of the error for each, "" for none. */
export async function runAttacks(
  expected: Readonly<Record<string, string>>,
  read: (name: string) => Promise<Uint8Array>,
): Promise<Outcome> {
  const checker = new Checker();
  for (const [name, error] of Object.entries(expected)) {
    let found = "";
    try {
      decodeManifest(await read(name), name);
    } catch (thrown) {
      found = (thrown as Error).name;
    }
    checker.compare(`attack ${name}`, found, error);
  }
  return checker.outcome;
}

function rowsOf(file: Json, name: string): Json[] {
  return file[name] as Json[];
}

function checkText(checker: Checker, file: Json): void {
  for (const { text, normalized } of rowsOf(file, "normalize")) {
    checker.compare(`normalize ${JSON.stringify(text)}`, normalizeText(text as string), normalized);
  }
  for (const { text, words } of rowsOf(file, "words")) {
    checker.compare(`words ${JSON.stringify(text)}`, wordsOf(normalizeText(text as string)), words);
  }
  for (const { word, folded, trigrams } of rowsOf(file, "fold")) {
    checker.compare(`fold ${JSON.stringify(word)}`, foldWord(word as string), folded);
    checker.compare(`trigrams ${JSON.stringify(folded)}`, trigramsOf(folded as string), trigrams);
  }
  for (const { left, right, limit, distance } of rowsOf(file, "edits")) {
    const found = editDistance(left as string, right as string, limit as number);
    checker.compare(`edits ${String(left)} ${String(right)}`, found, distance);
  }
}

function checkTokenizer(checker: Checker, file: Json): void {
  const tokenizer = loadTokenizer(new TextEncoder().encode(JSON.stringify(file["tokenizer"])));
  for (const { text, ids } of rowsOf(file, "texts")) {
    const found = tokenizer.encode(normalizeText(text as string), { add_special_tokens: false }).ids;
    checker.compare(`tokens ${JSON.stringify(text).slice(0, 40)}`, found, ids);
  }
}

function checkCohort(checker: Checker, file: Json): void {
  for (const row of [...rowsOf(file, "published"), ...rowsOf(file, "buckets")]) {
    checker.compare(`bucket ${String(row["value"])}`, bucket(String(row["seed"]), String(row["value"])), row["bucket"]);
  }
  for (const { seed, value, weights, choice } of rowsOf(file, "choices")) {
    checker.compare(`choice ${String(value)}`, choose(String(seed), String(value), weights as number[]), choice);
  }
}

function checkFusion(checker: Checker, file: Json): void {
  for (const row of rowsOf(file, "fuse")) {
    const found = fuse(Float32Array.from(row["cosines"] as number[]), Float32Array.from(row["lexical"] as number[]), {
      denseWeight: row["dense_weight"] as number,
      bestCosine: row["best_cosine"] as number,
      bestLexical: row["best_lexical"] as number,
    });
    checker.compare("fuse", Array.from(found), row["scores"], 1e-7);
  }
}

async function checkCatalogue(checker: Checker, file: Json, catalogue: Catalogue): Promise<void> {
  for (const { query, count, every, rows, scores } of rowsOf(file, "top")) {
    const mask = Uint8Array.from({ length: catalogue.length }, (_, row) => (row % (every as number) === 0 ? 1 : 0));
    const vector = Float32Array.from(query as number[]);
    const found = await catalogue.top(vector, count as number, every === 1 ? null : mask);
    const what = `top ${String(count)} of every ${String(every)}`;
    checker.compare(`${what}: rows`, Array.from(found.rows), rows);
    checker.compare(`${what}: scores`, Array.from(found.scores), scores, TOLERANCE);
  }
}

async function checkEncoder(checker: Checker, file: Json, recommender: Recommender): Promise<void> {
  const shown = (value: unknown): string => JSON.stringify(value).slice(0, 40);
  for (const { text, vector } of rowsOf(file, "queries")) {
    const found = await recommender.encodeQuery(text as string);
    checker.compare(`query ${shown(text)}`, Array.from(found), vector, TOLERANCE);
  }
  for (const { text, vector } of rowsOf(file, "items")) {
    const found = await recommender.encodeItem(text as string);
    checker.compare(`item ${shown(text)}`, Array.from(found), vector, TOLERANCE);
  }
  for (const { history, vector } of rowsOf(file, "histories")) {
    const found = await recommender.encodeHistory(history as string[]);
    checker.compare(`history ${shown(history)}`, Array.from(found), vector, TOLERANCE);
  }
}

async function checkSearch(checker: Checker, file: Json, source: BundleSource): Promise<void> {
  const recommender = await Recommender.load(await openBundle(new OtherFusion(source, file["fusion"])));
  const compare = (what: string, found: Recommendations, expected: unknown): void => {
    checker.compare(what, answerOf(found), expected, TOLERANCE);
  };
  for (const row of rowsOf(file, "search")) {
    const { query, answer, ...options } = row as { query: string; answer: unknown; mode: Mode; where: Where };
    compare(`search ${JSON.stringify(row).slice(0, 120)}`, await recommender.search(query, options), answer);
  }
  for (const row of rowsOf(file, "recommend")) {
    const { history, answer, ...options } = row as { history: string[]; answer: unknown; where: Where };
    compare(`recommend ${JSON.stringify(row).slice(0, 120)}`, await recommender.recommend(history, options), answer);
  }
  for (const row of rowsOf(file, "similar")) {
    const { product_id: id, answer, ...options } = row as { product_id: string; answer: unknown; where: Where };
    compare(`similar ${JSON.stringify(row).slice(0, 120)}`, await recommender.similar(id, options), answer);
  }
  for (const { query, mode, product_ids: ids, scores } of rowsOf(file, "score")) {
    const found = await recommender.score(query as string, ids as string[], mode as Mode);
    checker.compare(`score ${String(query)} ${String(mode)}`, Array.from(found), scores, TOLERANCE);
  }
  recommender.close();
}

async function checkOrders(checker: Checker, file: Json, recommender: Recommender): Promise<void> {
  for (const row of rowsOf(file, "sorted")) {
    const { query, answer, ...options } = row as { query: string; answer: unknown; sort: Sort };
    const found = answerOf(await recommender.search(query, options));
    checker.compare(`sorted ${JSON.stringify(row).slice(0, 120)}`, found, answer, TOLERANCE);
  }
  for (const row of rowsOf(file, "browse")) {
    const { answer, ...options } = row as { answer: unknown; sort: Sort };
    checker.compare(`browse ${JSON.stringify(row).slice(0, 80)}`, answerOf(recommender.browse(options)), answer, TOLERANCE);
  }
  for (const row of rowsOf(file, "facets")) {
    const { query, answer, ...options } = row as { query: string | null; answer: unknown; by: string[]; where: Where };
    checker.compare(`facets ${JSON.stringify(row).slice(0, 80)}`, await recommender.facets(query, options), answer, 1e-9);
  }
  for (const { prefix, answer } of rowsOf(file, "suggest")) {
    checker.compare(`suggest ${String(prefix)}`, recommender.suggest(prefix as string, 6), answer);
  }
}

async function checkExplain(checker: Checker, file: Json, recommender: Recommender): Promise<void> {
  for (const { query, product_id: id, answer } of rowsOf(file, "queries")) {
    const found = await recommender.explain(query as string, id as string);
    const words = found.words.map((one) => ({
      word: one.word,
      contribution: one.contribution,
      read_as: one.readAs,
      fields: one.matchedFields,
    }));
    const said = { score: found.score, dense: found.densePart, lexical: found.lexicalPart, words };
    checker.compare(`explain ${String(query)}`, said, answer, TOLERANCE);
  }
  for (const { history, product_id: id, answer } of rowsOf(file, "histories")) {
    const found = await recommender.explainHistory(history as string[], id as string);
    const items = found.items.map((one) => ({ product_id: one.productId, contribution: one.contribution }));
    checker.compare(`explain history ${String(history)}`, { score: found.score, items }, answer, TOLERANCE);
  }
}

function answerOf(found: Recommendations): Json {
  return {
    product_ids: found.productIds,
    scores: Array.from(found.scores),
    corrections: found.corrections,
    unknown_history: found.unknownHistory,
    cold_start: found.coldStart,
  };
}

/** The same files under a manifest with other weights of fusion. */
class OtherFusion implements BundleSource {
  readonly name: string;

  constructor(
    private readonly source: BundleSource,
    private readonly fusion: unknown,
  ) {
    this.name = source.name;
  }

  async manifest(): Promise<Uint8Array> {
    const manifest = JSON.parse(new TextDecoder().decode(await this.source.manifest())) as Json;
    return new TextEncoder().encode(JSON.stringify({ ...manifest, fusion: this.fusion }));
  }

  async file(artifact: Artifact): Promise<Uint8Array> {
    return this.source.file(artifact);
  }
}
