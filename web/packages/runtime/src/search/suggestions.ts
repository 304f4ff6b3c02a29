/** Completions of what is being typed: queries, brands, categories, titles, words of the catalogue. */

import { quotedTerm } from "../contract/rows.js";
import { normalizeText } from "../contract/text.js";
import { type RowsDatabase } from "../products/rows_database.js";
import { type LexicalIndex } from "./lexical.js";
import { foldWord, wordsOf } from "./spelling.js";

const MAX_PREFIX_WORDS = 8;
const MIN_TITLE_CHARS = 3;
const MIN_TYPO_CHARS = 4;
const SUGGESTIONS =
  "SELECT text, kind FROM suggestion_words JOIN suggestions ON suggestion = suggestion_words.rowid " +
  "WHERE suggestion_words MATCH ? ORDER BY weight DESC, suggestion LIMIT ?";
const TITLES =
  "SELECT products.title FROM search JOIN products ON row = search.rowid WHERE search MATCH ? " +
  "ORDER BY popularity DESC, row LIMIT ?";
const WORDS = "SELECT term FROM terms WHERE term >= ? AND term < ? ORDER BY products DESC, term LIMIT ?";
const LAST = "\u{10ffff}";

/** One completion: the text to search for, and its kind: "query", "brand", "category", "product" or "word". */
export interface Suggestion {
  readonly text: string;
  readonly kind: string;
}

/** Completions from one catalogue. */
export class Suggestions {
  private readonly hasTable: boolean;

  /** Look whether the catalogue has a table of suggestions; an older one has only words and titles. */
  constructor(
    private readonly database: RowsDatabase,
    private readonly lexicalIndex: LexicalIndex,
  ) {
    this.hasTable = database.fetch("SELECT 1 FROM sqlite_master WHERE name = 'suggestions'").length > 0;
  }

  /**
   * Return at most `count` completions of `prefix`, its last word unfinished, each text once.
   *
   * When nothing begins so, the words are read as the catalogue's nearest ones.
   */
  complete(prefix: string, count: number): Suggestion[] {
    const folded = wordsOf(normalizeText(prefix)).map(foldWord);
    const words = folded.filter((word) => word !== "").slice(-MAX_PREFIX_WORDS);
    const last = words.at(-1);
    if (last === undefined) return [];
    let found = this.found(words, count);
    if (found.length === 0 && Array.from(last).length >= MIN_TYPO_CHARS) {
      const { corrections } = this.lexicalIndex.understand(words.join(" "));
      if (Object.keys(corrections).length > 0) {
        found = this.found(words.map((word) => corrections[word]?.[0] ?? word), count);
      }
    }
    return found.slice(0, count);
  }

  private found(words: readonly string[], count: number): Suggestion[] {
    const found = new Map<string, Suggestion>();
    const add = (text: string, kind: string): void => {
      const key = text.toLowerCase();
      if (!found.has(key)) found.set(key, { text, kind });
    };
    const finished = words.slice(0, -1);
    const last = words.at(-1) as string;
    const match = [...finished.map(quotedTerm), `${quotedTerm(last)}*`].join(" ");
    if (this.hasTable) {
      for (const [text, kind] of this.database.fetch(SUGGESTIONS, [match, count])) add(String(text), String(kind));
    }
    const head = finished.join(" ");
    for (const [term] of this.database.fetch(WORDS, [last, last + LAST, count])) {
      const word = String(term);
      if (found.size < count && (head === "" || this.anyProduct([...finished, word]))) add(`${head} ${word}`.trim(), "word");
    }
    if (found.size < count && Array.from(last).length >= MIN_TITLE_CHARS) {
      for (const [title] of this.database.fetch(TITLES, [`{title brand} : (${match})`, count])) add(String(title), "product");
    }
    return [...found.values()];
  }

  private anyProduct(words: readonly string[]): boolean {
    const match = words.map(quotedTerm).join(" AND ");
    return this.database.fetch("SELECT 1 FROM search WHERE search MATCH ? LIMIT 1", [match]).length > 0;
  }
}
