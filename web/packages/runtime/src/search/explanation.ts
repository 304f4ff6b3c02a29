/** Why a product ranks: what its score loses when one word, or one product of the history, is left out. */

import { type Encoder } from "../inference/encoder.js";
import { type LexicalIndex, termsOf } from "./lexical.js";
import { type QueryScores } from "./query_scores.js";
import { wordsOf } from "./spelling.js";

/** Of a longer query, the first words are explained. */
export const MAX_EXPLAINED_WORDS = 32;

/** One word of a query. */
export interface WordContribution {
  /** As it was typed. */
  readonly word: string;
  /** The hybrid score with the word minus without it; below 0 when the word speaks against the product. */
  readonly contribution: number;
  /** The catalogue's words that stand for it, when no product has it. */
  readonly readAs: readonly string[];
  /** Text columns of the product that hold the word or a form of it. */
  readonly matchedFields: readonly string[];
}

/** Why a product ranks for a query: the hybrid score, its two parts (they sum up to it), and every word's share. */
export interface Explanation {
  readonly productId: string;
  readonly score: number;
  readonly densePart: number;
  readonly lexicalPart: number;
  readonly words: readonly WordContribution[];
}

/** Why a product ranks for a history: the score, and every history item's share in it, oldest first. */
export interface HistoryExplanation {
  readonly productId: string;
  readonly score: number;
  readonly items: readonly { readonly productId: string; readonly contribution: number }[];
}

/** What is explained: a product and its row. */
export interface Subject {
  readonly productId: string;
  readonly row: number;
}

/** Leave out each word of the normalized `text` in turn and compare the score of the product. */
export async function explainQuery(
  scores: QueryScores,
  text: string,
  subject: Subject,
  lexicalIndex: LexicalIndex,
  encoder: Encoder,
): Promise<Explanation> {
  const rows = Int32Array.of(subject.row);
  const cosines = scores.cosines(rows);
  const full = scores.hybrid(cosines, scores.hits.of(rows))[0] as number;
  const dense = scores.hybrid(cosines, new Float32Array(1))[0] as number;
  const words = wordsOf(text);
  const contributions: WordContribution[] = [];
  for (const [place, word] of words.slice(0, MAX_EXPLAINED_WORDS).entries()) {
    const rest = words.filter((_, other) => other !== place).join(" ");
    const without = scores.hybrid(
      scores.cosines(rows, await encoder.encodeQuery(rest)),
      lexicalIndex.hits(lexicalIndex.understand(rest)).of(rows),
    )[0] as number;
    const asked = lexicalIndex.understand(word);
    contributions.push({
      word,
      contribution: Math.fround(full - without),
      readAs: Object.values(asked.corrections).flat(),
      matchedFields: [...new Set(termsOf(asked).flatMap((term) => lexicalIndex.fieldsWith(term, subject.row)))],
    });
  }
  const lexicalPart = Math.fround(full - dense);
  return { productId: subject.productId, score: full, densePart: dense, lexicalPart, words: contributions };
}

/** A product of a history with its vector. */
export interface HistoryItem {
  readonly productId: string;
  readonly vector: Float32Array;
}

/** Leave out each history item in turn and compare the score of the product `target`. */
export async function explainHistory(
  encoder: Encoder,
  items: readonly HistoryItem[],
  target: HistoryItem,
): Promise<HistoryExplanation> {
  const full = await historyScore(encoder, items, target);
  const contributions = [];
  for (const [place, item] of items.entries()) {
    const others = items.filter((_, other) => other !== place);
    const without = others.length > 0 ? await historyScore(encoder, others, target) : 0;
    contributions.push({ productId: item.productId, contribution: full - without });
  }
  return { productId: target.productId, score: full, items: contributions };
}

async function historyScore(encoder: Encoder, items: readonly HistoryItem[], target: HistoryItem): Promise<number> {
  const query = await encoder.readHistory(items.map((item) => item.vector));
  let score = 0;
  query.vector.forEach((value, place) => (score += value * (target.vector[place] as number)));
  items.forEach((item, place) => {
    if (item.productId === target.productId) score += query.repeats[place] as number;
  });
  return score;
}
