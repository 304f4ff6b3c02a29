/** Words that the catalogue does not know: how they are folded, cut into trigrams and compared (edge_runtime/spelling.py). */
/** Return the runs of letters and digits in `text`, in order, as they are written. */
export declare function wordsOf(text: string): string[];
/** Return `word` in lower case without diacritics, as the full-text index keeps it: "Café" -> "cafe". */
export declare function foldWord(word: string): string;
/**
 * Return the distinct trigrams of a folded word and its two ends; "1" marks the beginning and "2" the end.
 *
 * "lamp" -> ["1l", "1la", "lam", "amp", "mp2", "p2"]. The ends let short words with swapped letters meet.
 */
export declare function trigramsOf(word: string): string[];
/**
 * Return how many letters must be added, removed, replaced or swapped with their neighbor; at most `limit` + 1.
 *
 * The optimal string alignment distance: a swapped pair counts 1 and is not edited again.
 */
export declare function editDistance(leftWord: string, rightWord: string, limit: number): number;
/** Order two texts by code points, as Python does; JavaScript's `<` compares UTF-16 units. */
export declare function compareCodePoints(left: string, right: string): number;
