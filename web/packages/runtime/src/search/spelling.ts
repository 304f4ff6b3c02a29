/** Words that the catalogue does not know: how they are folded, cut into trigrams and compared. */

const WORD = /[\p{L}\p{N}]+/gu;
const MARK = /\p{M}/u;

/** The mark of the highest combining class; every other combining mark sorts before it in canonical order. */
const LAST_MARK = "\u0345";

/** Return the runs of letters and digits in `text`, in order, as they are written. */
export function wordsOf(text: string): string[] {
  return text.match(WORD) ?? [];
}

/** Return `word` in lower case without diacritics, as the full-text index keeps it: "Café" -> "cafe". */
export function foldWord(word: string): string {
  const decomposed = word.toLowerCase().normalize("NFKD");
  return MARK.test(decomposed) ? Array.from(decomposed).filter((one) => !isCombining(one)).join("") : decomposed;
}

/** JavaScript has no combining classes, but normalization moves exactly the marks that have one before LAST_MARK. */
function isCombining(character: string): boolean {
  return character === LAST_MARK || (LAST_MARK + character).normalize("NFD").startsWith(character);
}

/**
 * Return the distinct trigrams of a folded word and its two ends; "1" marks the beginning and "2" the end.
 *
 * "lamp" -> ["1l", "1la", "lam", "amp", "mp2", "p2"]. The ends let short words with swapped letters meet.
 */
export function trigramsOf(word: string): string[] {
  const marked = Array.from(`1${word}2`);
  const pieces = [marked.slice(0, 2)];
  for (let start = 0; start + 2 < marked.length; start++) pieces.push(marked.slice(start, start + 3));
  pieces.push(marked.slice(-2));
  return [...new Set(pieces.map((piece) => piece.join("")))];
}

/**
 * Return how many letters must be added, removed, replaced or swapped with their neighbor; at most `limit` + 1.
 *
 * The optimal string alignment distance: a swapped pair counts 1 and is not edited again.
 */
export function editDistance(leftWord: string, rightWord: string, limit: number): number {
  const left = Array.from(leftWord);
  const right = Array.from(rightWord);
  if (Math.abs(left.length - right.length) > limit) return limit + 1;
  let before: number[] = [];
  let previous = Array.from({ length: right.length + 1 }, (_, place) => place);
  for (let i = 1; i <= left.length; i++) {
    const current = [i];
    let smallest = i;
    for (let j = 1; j <= right.length; j++) {
      const replaced = at(previous, j - 1) + (left[i - 1] === right[j - 1] ? 0 : 1);
      let cost = Math.min(at(previous, j) + 1, at(current, j - 1) + 1, replaced);
      if (i > 1 && j > 1 && left[i - 1] === right[j - 2] && left[i - 2] === right[j - 1]) {
        cost = Math.min(cost, at(before, j - 2) + 1);
      }
      current.push(cost);
      smallest = Math.min(smallest, cost);
    }
    if (smallest > limit) return limit + 1;
    before = previous;
    previous = current;
  }
  return Math.min(at(previous, right.length), limit + 1);
}

function at(row: readonly number[], place: number): number {
  return row[place] as number;
}

/** Order two texts by code points, as Python does; JavaScript's `<` compares UTF-16 units. */
export function compareCodePoints(left: string, right: string): number {
  const a = Array.from(left);
  const b = Array.from(right);
  for (let place = 0; place < Math.min(a.length, b.length); place++) {
    const difference = (a[place]?.codePointAt(0) ?? 0) - (b[place]?.codePointAt(0) ?? 0);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}
