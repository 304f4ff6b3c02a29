/** The one way in which text becomes model input: every device agrees to the letter. */

/** Longer texts are cut here, in code points, before they are tokenized. */
export const MAX_TEXT_CHARS = 2_000;

const CONTROL_OR_SPACE =
  // eslint-disable-next-line no-control-regex -- control characters are what it looks for
  /[\x00-\x20\x7f-\xa0\u1680\u2000-\u200b\u2028-\u202f\u205f\u2060\u3000\ufeff\ud800-\udfff]+/gu;

/** Return the first `count` code points of `text`. */
export function cut(text: string, count: number): string {
  return text.length <= count ? text : Array.from(text).slice(0, count).join("");
}

/**
 * Return `text` in Unicode NFKC, control characters, lone surrogates and runs of white space as one space, ends stripped.
 *
 * Joiners, emoji and right-to-left marks inside words are kept.
 */
export function normalizeText(text: string): string {
  return cut(text, MAX_TEXT_CHARS).normalize("NFKC").replace(CONTROL_OR_SPACE, " ").trim();
}
