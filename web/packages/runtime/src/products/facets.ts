/** Facets: how many of the matching products each brand, category, attribute or range of numbers has. */

import { compareCodePoints } from "../search/spelling.js";
import { type Mask } from "../search/vector_index.js";
import { NUMBERS, type ProductColumns, type TextColumn } from "./columns.js";
import { type Where } from "./filters.js";

export const RANGES = 5;
const LEVEL = " > ";

/** One value of a field: how it reads, how many products have it, and the filter that leaves these. */
export interface FacetValue {
  readonly value: string;
  readonly products: number;
  readonly where: Where;
}

/**
 * Return the values of `field` among the matching products, most frequent first, ties by value.
 *
 * A category counts for itself and for every level above it. Numbers come as ranges of about equal numbers, lowest first.
 */
export function countValues(columns: ProductColumns, field: string, matching: Mask, limit: number): FacetValue[] {
  if (NUMBERS.has(field)) return ranges(field, columns.numbers(field).filter((_, row) => matching[row] === 1));
  const column = columns.text(field);
  const found = new Map<number, number>();
  column.codes.forEach((code, row) => {
    if (code >= 0 && matching[row] === 1) found.set(code, (found.get(code) ?? 0) + 1);
  });
  const levels = field === "category" ? pathsOf : (value: string): string[] => [value];
  return counted(column, found, levels)
    .sort(([one, left], [other, right]) => right - left || compareCodePoints(one, other))
    .slice(0, limit)
    .map(([value, products]) => ({ value, products, where: { [field]: value } }));
}

/** Add up values that differ only in case, as the filter does; the first one that the catalogue has gives the name. */
function counted(
  column: TextColumn,
  found: ReadonlyMap<number, number>,
  levels: (value: string) => string[],
): [string, number][] {
  const counts = new Map<string, [string, number]>();
  for (const [code, number] of [...found].sort(([left], [right]) => left - right)) {
    for (const path of levels(column.values[code] as string)) {
      const key = lowered(path);
      const [name, before] = counts.get(key) ?? [path, 0];
      counts.set(key, [name, before + number]);
    }
  }
  return [...counts.values()];
}

function pathsOf(value: string): string[] {
  const parts = value.split(LEVEL);
  return parts.map((_, depth) => parts.slice(0, depth + 1).join(LEVEL));
}

/** Lower ASCII letters only: SQLite's NOCASE, by which the filter compares. */
function lowered(text: string): string {
  return text.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
}

function ranges(field: string, numbers: Float64Array): FacetValue[] {
  const known = numbers.filter((number) => !Number.isNaN(number)).sort();
  if (known.length === 0) return [];
  const shares = Array.from({ length: RANGES - 1 }, (_, place) => (place + 1) / RANGES);
  const edges = [...new Set(shares.map((share) => rounded(quantile(known, share))))].sort((a, b) => a - b);
  const bounds = [undefined, ...edges].map((low, place): [number | undefined, number | undefined] => [low, edges[place]]);
  return bounds.flatMap(([low, high]) => {
    const products = known.filter((number) => number >= (low ?? -Infinity) && number < (high ?? Infinity)).length;
    const range = { ...(low === undefined ? {} : { gte: low }), ...(high === undefined ? {} : { lt: high }) };
    const where: Where = Object.keys(range).length > 0 ? { [field]: range } : {};
    return products > 0 ? [{ value: rangeName(field, low, high), products, where }] : [];
  });
}

function rangeName(field: string, low: number | undefined, high: number | undefined): string {
  if (low !== undefined && high !== undefined) return `${String(low)} … ${String(high)}`;
  if (high !== undefined) return `under ${String(high)}`;
  return low === undefined ? `any ${field}` : `from ${String(low)}`;
}

/** Return the quantile of sorted values by linear interpolation. */
function quantile(sorted: Float64Array, share: number): number {
  const place = share * (sorted.length - 1);
  const low = Math.floor(place);
  const before = sorted[low] as number;
  return before + ((sorted[Math.min(low + 1, sorted.length - 1)] as number) - before) * (place - low);
}

/** Two digits that count, so that a range reads like one that a person chose. */
function rounded(number: number): number {
  return Number(number.toPrecision(2));
}
