/** Numbers as people read them. */

/** Return a duration: "0.8 ms", "12 ms". */
export function milliseconds(value: number): string {
  return `${value < 9.95 ? value.toFixed(1) : value.toFixed(0)} ms`;
}

/** Return a size: "812 KB", "2.8 MB". */
export function bytes(value: number): string {
  return value < 1e6 ? `${Math.max(1, Math.round(value / 1e3)).toString()} KB` : `${(value / 1e6).toFixed(1)} MB`;
}

/** Return a price without a currency, which a bundle does not know: "10.49". */
export function price(value: number): string {
  return value.toFixed(2);
}

/** Return a count: "2,000". */
export function count(value: number): string {
  return value.toLocaleString("en-US");
}

/** Return a count with its noun: "1 file", "3 files". */
export function counted(value: number, noun: string): string {
  return `${count(value)} ${value === 1 ? noun : plural(noun)}`;
}

/** Return the middle of some values, or null when there are none. */
export function median(values: readonly number[]): number | null {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? null;
}

/** Return a text cut to some characters, at a word. */
export function shortened(text: string, length: number): string {
  if (text.length <= length) return text;
  return `${text.slice(0, length).replace(/[\s,]+\S*$/, "")}…`;
}

function plural(noun: string): string {
  return /(?:s|x|z|ch|sh)$/.test(noun) ? `${noun}es` : `${noun}s`;
}
