/** Marking the words of a title that a query asked for. */

import { foldWord, wordsOf } from "pocketrec-web";

import { make } from "../dom.js";

const SHORTEST_STEM = 4;

/** Return the folded words that a query looks for: corrections stand for the words that they replace. */
export function wantedWords(query: string, corrections: Readonly<Record<string, readonly string[]>>): Set<string> {
  return new Set(wordsOf(query).flatMap((word) => corrections[foldWord(word)] ?? [foldWord(word)]));
}

/** Return a title in which words that fit `wanted`, or a form of one, are marked. */
export function marked(title: string, wanted: ReadonlySet<string>): Node[] {
  const parts = title.split(/([\p{L}\p{N}]+)/u);
  return parts
    .filter((part) => part !== "")
    .map((part) => {
      const fits = /[\p{L}\p{N}]/u.test(part) && isWanted(foldWord(part), wanted);
      return fits ? make("mark", {}, part) : document.createTextNode(part);
    });
}

function isWanted(word: string, wanted: ReadonlySet<string>): boolean {
  if (wanted.has(word)) return true;
  for (const one of wanted) {
    const shorter = Math.min(one.length, word.length);
    // "lamps" for "lamp", "batteries" for "battery": alike but for an ending of up to three letters.
    const stem = Math.max(SHORTEST_STEM, Math.max(one.length, word.length) - 3);
    if (shorter >= stem && one.slice(0, stem) === word.slice(0, stem)) return true;
  }
  return false;
}
