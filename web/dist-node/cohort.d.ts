/** Stable cohorts by GrowthBook's published hash, version 2 (edge_runtime/contract/cohort.py). */
/** Return the 32-bit FNV-1a hash of `data`. */
export declare function fnv1a32(data: Uint8Array): number;
/**
 * Return the place of `value` in [0, 1), in steps of 1/10,000.
 *
 * @param seed names the question that is asked: other seeds give independent places.
 * @param value whose place, such as a device's id.
 */
export declare function bucket(seed: string, value: string): number;
/** Tell whether `value` belongs to the first `share` (0 … 1) of all. */
export declare function inShare(seed: string, value: string, share: number): boolean;
/** Return which of consecutive ranges of widths `weights` holds `value`, or null beyond their sum. */
export declare function choose(seed: string, value: string, weights: readonly number[]): number | null;
