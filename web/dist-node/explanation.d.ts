/** Why a product ranks: what its score loses when one word, or one product of the history, is left out (edge_runtime/explanation.py). */
import { type Encoder } from "./encoder.js";
import { type LexicalIndex } from "./lexical.js";
import { type QueryScores } from "./query_scores.js";
/** Of a longer query, the first words are explained. */
export declare const MAX_EXPLAINED_WORDS = 32;
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
    readonly items: readonly {
        readonly productId: string;
        readonly contribution: number;
    }[];
}
/** What is explained: a product and its row. */
export interface Subject {
    readonly productId: string;
    readonly row: number;
}
/** Leave out each word of the normalized `text` in turn and compare the score of the product. */
export declare function explainQuery(scores: QueryScores, text: string, subject: Subject, lexicalIndex: LexicalIndex, encoder: Encoder): Promise<Explanation>;
/** A product of a history with its vector. */
export interface HistoryItem {
    readonly productId: string;
    readonly vector: Float32Array;
}
/** Leave out each history item in turn and compare the score of the product `target`. */
export declare function explainHistory(encoder: Encoder, items: readonly HistoryItem[], target: HistoryItem): Promise<HistoryExplanation>;
