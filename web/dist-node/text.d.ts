/** The one way in which text becomes model input (edge_runtime/contract/text.py): every device agrees to the letter. */
/** Longer texts are cut here, in code points, before they are tokenized. */
export declare const MAX_TEXT_CHARS = 2000;
/** Return the first `count` code points of `text`. */
export declare function cut(text: string, count: number): string;
/**
 * Return `text` in Unicode NFKC, control characters, lone surrogates and runs of white space as one space, ends stripped.
 *
 * Joiners, emoji and right-to-left marks inside words are kept.
 */
export declare function normalizeText(text: string): string;
