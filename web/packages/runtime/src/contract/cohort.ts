/** Stable cohorts by GrowthBook's published hash, version 2. */

const BUCKETS = 10_000;

/** Return the 32-bit FNV-1a hash of `data`. */
export function fnv1a32(data: Uint8Array): number {
  let value = 0x811c9dc5;
  for (const byte of data) value = Math.imul(value ^ byte, 0x01000193) >>> 0;
  return value;
}

/**
 * Return the place of `value` in [0, 1), in steps of 1/10,000.
 *
 * @param seed names the question that is asked: other seeds give independent places.
 * @param value whose place, such as a device's id.
 */
export function bucket(seed: string, value: string): number {
  const encoder = new TextEncoder();
  const first = fnv1a32(encoder.encode(seed + value));
  return (fnv1a32(encoder.encode(String(first))) % BUCKETS) / BUCKETS;
}

/** Tell whether `value` belongs to the first `share` (0 … 1) of all. */
export function inShare(seed: string, value: string, share: number): boolean {
  return bucket(seed, value) < share;
}

/** Return which of consecutive ranges of widths `weights` holds `value`, or null beyond their sum. */
export function choose(seed: string, value: string, weights: readonly number[]): number | null {
  const place = bucket(seed, value);
  let end = 0;
  for (const [index, weight] of weights.entries()) {
    end += weight;
    // Sums of fractions are not exact; the places are multiples of 1/10,000, so half a step decides nothing wrongly.
    if (place < end - 0.5 / BUCKETS) return index;
  }
  return null;
}
