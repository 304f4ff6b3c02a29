/** The golden answers of a bundle: how a device proves that it gives them. */

import { BundleFormatError, GoldenMismatchError, reasonOf } from "../contract/errors.js";
import { GOLDEN_FILE } from "../contract/manifest.js";

interface GoldenAnswer {
  readonly vector: readonly number[];
  readonly product_ids: readonly string[];
}

/** The content of `golden.json`. */
export interface Golden {
  readonly min_cosine: number;
  readonly min_overlap: number;
  readonly queries: readonly (GoldenAnswer & { readonly text: string })[];
  readonly histories: readonly (GoldenAnswer & { readonly history: readonly string[] })[];
}

/** What answers the golden queries: a `Recommender`. */
export interface Answering {
  encodeQuery(text: string): Promise<Float32Array>;
  encodeHistory(history: readonly string[]): Promise<Float32Array>;
  search(query: string, options: { k: number }): Promise<{ readonly productIds: readonly string[] }>;
  recommend(history: readonly string[], options: { k: number }): Promise<{ readonly productIds: readonly string[] }>;
}

/** How near this device is to the golden answers: the worst cosine and the share of expected products found. */
export interface Proof {
  readonly answers: number;
  readonly worstCosine: number;
  readonly overlap: number;
}

/**
 * Read `golden.json`.
 *
 * @throws BundleFormatError the file is malformed.
 */
export function readGolden(data: Uint8Array): Golden {
  try {
    const golden = JSON.parse(new TextDecoder().decode(data)) as Golden;
    const numbers = [golden.min_cosine, golden.min_overlap];
    if (numbers.every(Number.isFinite) && Array.isArray(golden.queries) && Array.isArray(golden.histories)) {
      return golden;
    }
  } catch (error) {
    throw new BundleFormatError(`${GOLDEN_FILE} is not JSON (${reasonOf(error)}); get the bundle again`);
  }
  throw new BundleFormatError(`${GOLDEN_FILE} has not the agreed fields; get the bundle again`);
}

interface Asked {
  readonly name: string;
  readonly cosine: number;
  readonly expected: number;
  readonly found: number;
}

/**
 * Ask every golden query and history and compare.
 *
 * @throws GoldenMismatchError a vector is further away than `min_cosine`, fewer products than `min_overlap` are found,
 *   or there is nothing to compare.
 */
export async function checkGolden(recommender: Answering, golden: Golden): Promise<Proof> {
  const asked: Asked[] = [];
  for (const one of golden.queries) {
    const answer = await recommender.search(one.text, { k: Math.max(1, one.product_ids.length) });
    asked.push(compared(`query '${one.text}'`, one, await recommender.encodeQuery(one.text), answer.productIds));
  }
  for (const one of golden.histories) {
    const answer = await recommender.recommend(one.history, { k: Math.max(1, one.product_ids.length) });
    const vector = await recommender.encodeHistory(one.history);
    asked.push(compared(`history ${JSON.stringify(one.history)}`, one, vector, answer.productIds));
  }
  return judged(asked, golden);
}

function judged(asked: readonly Asked[], golden: Golden): Proof {
  if (asked.length === 0) {
    throw new GoldenMismatchError("golden.json has no queries, so this bundle proves nothing; build it again");
  }
  for (const one of asked) {
    if (one.cosine < golden.min_cosine) {
      throw new GoldenMismatchError(
        `the vector of ${one.name} has cosine ${one.cosine.toFixed(4)} with the golden one, expected at least ` +
          `${String(golden.min_cosine)}; this device must not use this bundle`,
      );
    }
  }
  const sum = (pick: (one: Asked) => number): number => asked.reduce((total, one) => total + pick(one), 0);
  const overlap = sum((one) => one.found) / Math.max(1, sum((one) => one.expected));
  if (overlap < golden.min_overlap) {
    const poorest = asked.find((one) => one.found < one.expected);
    throw new GoldenMismatchError(
      `${overlap.toFixed(3)} of the golden products are found, expected at least ${String(golden.min_overlap)}, the ` +
        `first missing for ${poorest?.name ?? "no query"}; this device must not use this bundle`,
    );
  }
  return { answers: asked.length, worstCosine: Math.min(...asked.map((one) => one.cosine)), overlap };
}

function compared(name: string, golden: GoldenAnswer, vector: Float32Array, found: readonly string[]): Asked {
  const expected = new Set(golden.product_ids);
  const hits = new Set(found.filter((one) => expected.has(one)));
  return { name, cosine: cosineOf(golden.vector, vector), expected: golden.product_ids.length, found: hits.size };
}

function cosineOf(expected: readonly number[], found: Float32Array): number {
  if (expected.length !== found.length || !expected.every(Number.isFinite)) return -1;
  let product = 0;
  let left = 0;
  let right = 0;
  expected.forEach((value, place) => {
    const other = found[place] as number;
    product += value * other;
    left += value * value;
    right += other * other;
  });
  if (left === 0 || right === 0) return left === right ? 1 : 0;
  return product / Math.sqrt(left * right);
}
