/** What callers give, checked. */

import { ConfigError } from "../contract/errors.js";
import { normalizeText } from "../contract/text.js";

/** Return a text, normalized; an empty one is refused. */
export function checkedText(text: string): string {
  if (typeof text !== "string") throw new ConfigError(`expected a text, found ${typeof text}`);
  const normalized = normalizeText(text);
  if (normalized !== "") return normalized;
  throw new ConfigError("the text is empty; give at least one word, or use 'recommend' for an answer without a query");
}

/** Refuse anything but a whole number of at least `least`. */
export function checkCount(count: number, name = "k", least = 1): void {
  if (Number.isInteger(count) && count >= least) return;
  throw new ConfigError(`${name} must be a whole number of at least ${String(least)}, found ${String(count)}`);
}

/** Refuse anything but a list of texts. */
export function checkIds(ids: readonly string[], name: string): void {
  if (Array.isArray(ids) && ids.every((one) => typeof one === "string")) return;
  throw new ConfigError(`${name} takes a list of product ids (texts), found ${JSON.stringify(ids)}`);
}

/** Refuse anything but one of `choices`. */
export function checkChoice(value: string, choices: readonly string[], name: string): void {
  if (choices.includes(value)) return;
  throw new ConfigError(`unknown ${name} '${value}', expected one of ${choices.join(", ")}`);
}
