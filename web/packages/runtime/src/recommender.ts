/** Recommender: an opened bundle that answers searches, recommends, scores and explains. */

import { type Bundle, type BundleSource, openBundle } from "./contract/bundle.js";
import { ConfigError } from "./contract/errors.js";
import { CATALOGUE_ROWS_FILE, GOLDEN_FILE } from "./contract/manifest.js";
import { Encoder, isZero, lengthOf } from "./inference/encoder.js";
import { ProductColumns } from "./products/columns.js";
import { countValues, type FacetValue } from "./products/facets.js";
import { type Where } from "./products/filters.js";
import { type ProductRow, ProductRows } from "./products/product_rows.js";
import { RowsDatabase } from "./products/rows_database.js";
import { checkChoice, checkCount, checkedText, checkIds } from "./search/arguments.js";
import {
  type Explanation,
  explainHistory,
  explainQuery,
  type HistoryExplanation,
  type HistoryItem,
} from "./search/explanation.js";
import { rankHistory } from "./search/history_ranking.js";
import { LexicalIndex } from "./search/lexical.js";
import { matchingRows, poolSize, type Sort, sortedRows, SORTS } from "./search/pipeline.js";
import { type Mode, MODES, QueryScores, type QueryTools } from "./search/query_scores.js";
import { type Ranked } from "./search/ranking.js";
import { type Suggestion, Suggestions } from "./search/suggestions.js";
import { Catalogue, type Mask } from "./search/vector_index.js";
import { type ChannelOptions } from "./updates/channel_source.js";
import { checkGolden, type Golden, type Proof, readGolden } from "./updates/self_test.js";

/** Which products may be returned, and how many. */
export interface Options {
  /** How many products, at least 1; 10 when left out. */
  readonly k?: number;
  /** Filter (filters.ts). */
  readonly where?: Where;
  /** Product ids that must not be returned. */
  readonly exclude?: readonly string[];
}

/** How a query is answered. */
export interface SearchOptions extends Options {
  /** How many to leave out before: the next page has `offset: k`. */
  readonly offset?: number;
  readonly mode?: Mode;
  /** Another order of the most relevant products; at least 100 are put in order. */
  readonly sort?: Sort;
}

/** What facets count. */
export interface FacetOptions {
  /** "brand", "category", "group", "price" or "attributes.NAME". */
  readonly by?: readonly string[];
  readonly where?: Where;
  /** At most so many values of a field. */
  readonly limit?: number;
}

/** Products, best first. */
export interface Recommendations {
  readonly productIds: readonly string[];
  /** Falling. Hybrid: 0 … 1; dense: cosine; histories: cosine and what repeats; lexical: BM25; cold start: popularity. */
  readonly scores: Float32Array;
  /** Words of the query that no product has -> the catalogue's words that were looked for instead. */
  readonly corrections: Readonly<Record<string, readonly string[]>>;
  /** Products of the history that the catalogue does not know; they were left out. */
  readonly unknownHistory: readonly string[];
  /** Nothing was known of the query or history, so these are the most popular products. */
  readonly coldStart: boolean;
}

/** Answers from one bundle; `close` it to free its memory. */
export class Recommender {
  private constructor(
    readonly bundle: Bundle,
    private readonly database: RowsDatabase,
    private readonly products: ProductRows,
    private readonly columns: ProductColumns,
    private readonly suggestions: Suggestions,
    private readonly tools: QueryTools,
    private readonly golden: Golden,
  ) {}

  /**
   * Open the bundle whose `manifest.json` lies below a URL, or that a source gives.
   *
   * From a URL it is kept in the browser, updated when the server has another, and opened from there without a network. What
   * the channel of a sync server offers is verified by its signatures (`options` say by which root).
   *
   * @throws BundleError the bundle is damaged, malformed or too new.
   * @throws DownloadError there is no network, and nothing was kept.
   * @throws InferenceError the encoder cannot be run here.
   */
  static async open(place: string | BundleSource, options: ChannelOptions = {}): Promise<Recommender> {
    if (typeof place !== "string") return Recommender.load(await openBundle(place));
    // The updater opens recommenders and so imports this file.
    const { openNewest } = await import("./updates/updater.js");
    return openNewest(place, options);
  }

  /** Load the models and open the catalogue of a bundle, whose bytes are then forgotten: a bundle is loaded once. */
  static async load(bundle: Bundle): Promise<Recommender> {
    const { catalogue: spec, fusion } = bundle.manifest;
    const golden = readGolden(bundle.take(GOLDEN_FILE));
    const database = await RowsDatabase.open(bundle.take(CATALOGUE_ROWS_FILE));
    let encoder: Encoder | null = null;
    try {
      const products = new ProductRows(database, spec.products);
      const lexicalIndex = new LexicalIndex(database, spec.products, fusion);
      encoder = await Encoder.load(bundle);
      const catalogue = await Catalogue.load(bundle);
      const columns = new ProductColumns(database, spec.products, () => products.attributeNames());
      const suggestions = new Suggestions(database, lexicalIndex);
      const tools = { encoder, catalogue, lexicalIndex, denseWeight: fusion.denseWeight };
      return new Recommender(bundle, database, products, columns, suggestions, tools, golden);
    } catch (error) {
      encoder?.close();
      database.close();
      throw error;
    }
  }

  /** How many products there are. */
  get length(): number {
    return this.tools.catalogue.length;
  }

  /** Free the bundle's memory; the recommender answers no more. */
  close(): void {
    this.tools.encoder.close();
    this.tools.catalogue.close();
    this.database.close();
  }

  /**
   * Return the `k` best products for a query; fewer when fewer are eligible or, in lexical mode, match a word.
   *
   * A query in which nothing is known, neither by the model nor by the index, gives the most popular products.
   *
   * @throws ConfigError an empty query, `k` below 1, an unknown field in `where`, or an unknown mode.
   */
  async search(query: string, options: SearchOptions = {}): Promise<Recommendations> {
    const { k = 10, offset = 0, mode = "hybrid", sort = "relevance" } = options;
    checkCount(k);
    checkCount(offset, "offset", 0);
    checkChoice(sort, SORTS, "sort");
    const scores = await this.queryScores(query, mode);
    const eligible = this.eligible(options);
    const size = poolSize(offset + k, sort);
    const coldStart = mode !== "lexical" && !scores.knowsAnything;
    const ranked = coldStart ? this.products.mostPopular(size, eligible) : await scores.ranking(size, eligible, mode);
    const page = pageOf(sortedRows(ranked, sort, this.products, this.columns), offset, k);
    return this.answer(page, { corrections: coldStart ? {} : scores.query.corrections, coldStart });
  }

  /**
   * Return a page of all eligible products in an order, without a query; the scores are their popularity.
   *
   * @throws ConfigError `k` below 1, an unknown field in `where`, or an unknown sort.
   */
  browse(options: Options & { readonly offset?: number; readonly sort?: Sort } = {}): Recommendations {
    const { k = 10, offset = 0, sort = "popularity" } = options;
    checkCount(k);
    checkCount(offset, "offset", 0);
    checkChoice(sort, SORTS, "sort");
    const popular = this.products.mostPopular(this.length, this.eligible(options));
    const ranked = sort === "popularity" ? popular : sortedRows(popular, sort, this.products, this.columns);
    return this.answer(pageOf(ranked, offset, k), {});
  }

  /**
   * Return how many matching products each value of some fields has, exactly, by field.
   *
   * The matching products are those in which a word of the query occurs (or, when none has any, the nearest ones) and
   * which fulfil `where`. The filter on a field itself does not count for that field, so that another can be chosen.
   *
   * @param query what a person typed; null for the whole catalogue.
   * @throws ConfigError an empty query, or an unknown field in `by` or `where`.
   */
  async facets(query: string | null, options: FacetOptions = {}): Promise<Record<string, readonly FacetValue[]>> {
    const { by = ["brand", "category", "price"], where = {}, limit = 10 } = options;
    checkCount(limit, "limit");
    checkIds(by, "by");
    for (const field of by) this.columns.checkField(field);
    const matching = query === null ? null : matchingRows(await this.queryScores(query, "hybrid"), this.length);
    const values = by.map((field): [string, readonly FacetValue[]] => {
      const others = Object.fromEntries(Object.entries(where).filter(([name]) => name !== field));
      const mask = this.products.matching(others);
      const both = matching === null ? mask : mask.map((one, row) => one & (matching[row] as number));
      return [field, countValues(this.columns, field, both, limit)];
    });
    return Object.fromEntries(values);
  }

  /**
   * Return at most `k` completions of what is being typed: queries, brands, categories, words, titles.
   *
   * @throws ConfigError not a text, or `k` below 1.
   */
  suggest(prefix: string, k = 8): readonly Suggestion[] {
    checkCount(k);
    if (typeof prefix !== "string") throw new ConfigError(`expected a text, found ${typeof prefix}`);
    return this.suggestions.complete(prefix, k);
  }

  /**
   * Return the `k` products that fit a purchase history best, products of the history included.
   *
   * Unknown products are left out and named in the answer; an empty or wholly unknown history gives the most popular.
   *
   * @param history product ids, newest last.
   * @throws ConfigError `history` is not a list of ids, `k` below 1, or an unknown field in `where`.
   */
  async recommend(history: readonly string[], options: Options = {}): Promise<Recommendations> {
    const { k = 10 } = options;
    checkCount(k);
    const known = this.knownHistory(history);
    const unknown = [...new Set(history.filter((one) => !known.has(one)))];
    const eligible = this.eligible(options);
    const rows = this.newestRows(history, known);
    const { encoder, catalogue } = this.tools;
    const query = await encoder.readHistory(Array.from(rows, (row) => catalogue.vectorOf(row)));
    if (isZero(query.vector)) return this.coldStart(k, eligible, unknown);
    return this.answer(await rankHistory(catalogue, query, rows, k, eligible), { unknownHistory: unknown });
  }

  /**
   * Return the `k` products nearest to one product, without itself.
   *
   * @throws ConfigError an unknown product, `k` below 1, or an unknown field in `where`.
   */
  async similar(productId: string, options: Options = {}): Promise<Recommendations> {
    const { k = 10, exclude = [] } = options;
    checkCount(k);
    const row = this.knownRow(productId);
    const eligible = this.eligible({ ...options, exclude: [...exclude, productId] });
    const vector = this.tools.catalogue.vectorOf(row);
    const norm = lengthOf(vector);
    return this.answer(await this.tools.catalogue.top(vector.map((value) => value / norm), k, eligible), {});
  }

  /**
   * Return the scores that `search` in the same mode gives these products.
   *
   * @throws ConfigError an empty query, an unknown product or mode.
   */
  async score(query: string, productIds: readonly string[], mode: Mode = "hybrid"): Promise<Float32Array> {
    const rows = this.knownRows(productIds);
    return (await this.queryScores(query, mode)).of(rows, mode);
  }

  /**
   * Return what each word of the query contributes to the product's hybrid score.
   *
   * @throws ConfigError an empty query or an unknown product.
   */
  async explain(query: string, productId: string): Promise<Explanation> {
    const row = this.knownRow(productId);
    const scores = await this.queryScores(query, "hybrid");
    const { lexicalIndex, encoder } = this.tools;
    return explainQuery(scores, checkedText(query), { productId, row }, lexicalIndex, encoder);
  }

  /**
   * Return what each product of a history contributes to the score of `productId`.
   *
   * @throws ConfigError an unknown product, or a history without a known one.
   */
  async explainHistory(history: readonly string[], productId: string): Promise<HistoryExplanation> {
    const { catalogue, encoder } = this.tools;
    const item = (id: string, row: number): HistoryItem => ({ productId: id, vector: catalogue.vectorOf(row) });
    const target = item(productId, this.knownRow(productId));
    const known = this.knownHistory(history);
    const ids = history.filter((one) => known.has(one)).slice(-encoder.historyItems);
    if (ids.length === 0) {
      throw new ConfigError("the catalogue knows no product of this history, so there is nothing to explain");
    }
    return explainHistory(encoder, ids.map((one) => item(one, known.get(one) as number)), target);
  }

  /**
   * Return the row of a product for display.
   *
   * @throws ConfigError an unknown product.
   */
  product(productId: string): ProductRow {
    return this.products.product(this.knownRow(productId));
  }

  /** Return whether the catalogue has a product. */
  has(productId: string): boolean {
    return this.products.rowsOf([productId]).size > 0;
  }

  /** Return the token ids of a text, as the model reads them. */
  tokenIds(text: string): readonly number[] {
    return this.tools.encoder.tokenIds(checkedText(text));
  }

  /** Return the unit vector of a query; zero when the model knows no token of it. */
  async encodeQuery(text: string): Promise<Float32Array> {
    return this.tools.encoder.encodeQuery(checkedText(text));
  }

  /** Return the unit vector of an item's text (docs/bundle-format.md). */
  async encodeItem(text: string): Promise<Float32Array> {
    return this.tools.encoder.encodeItem(checkedText(text));
  }

  /** Return the unit vector of a history of product ids, newest last; zero when none is known. */
  async encodeHistory(history: readonly string[]): Promise<Float32Array> {
    const rows = this.newestRows(history, this.knownHistory(history));
    const vectors = Array.from(rows, (row) => this.tools.catalogue.vectorOf(row));
    return (await this.tools.encoder.readHistory(vectors)).vector;
  }

  /**
   * Check that this device gives the golden answers of the bundle.
   *
   * @throws GoldenMismatchError it does not; the text names the first answer that differs.
   */
  async prove(): Promise<Proof> {
    return checkGolden(this, this.golden);
  }

  private async queryScores(query: string, mode: Mode): Promise<QueryScores> {
    checkChoice(mode, MODES, "mode");
    return QueryScores.of(checkedText(query), mode, this.tools);
  }

  private eligible({ where, exclude = [] }: Options): Mask | null {
    if (typeof exclude === "string") {
      throw new ConfigError(`exclude takes a list of product ids, found the text '${String(exclude)}'`);
    }
    const mask = where !== undefined && Object.keys(where).length > 0 ? this.products.matching(where) : null;
    const excluded = exclude.length > 0 ? [...this.products.rowsOf(exclude).values()] : [];
    if (excluded.length === 0) return mask;
    const allowed = mask?.slice() ?? new Uint8Array(this.length).fill(1);
    for (const row of excluded) allowed[row] = 0;
    return allowed;
  }

  private coldStart(k: number, eligible: Mask | null, unknownHistory: readonly string[]): Recommendations {
    return { ...this.answer(this.products.mostPopular(k, eligible), { unknownHistory }), coldStart: true };
  }

  private answer(ranked: Ranked, more: Partial<Recommendations>): Recommendations {
    const productIds = this.products.idsOf(ranked.rows);
    return { productIds, scores: ranked.scores, corrections: {}, unknownHistory: [], coldStart: false, ...more };
  }

  private knownHistory(history: readonly string[]): Map<string, number> {
    checkIds(history, "history");
    return this.products.rowsOf([...new Set(history)]);
  }

  private newestRows(history: readonly string[], known: ReadonlyMap<string, number>): Int32Array {
    const rows = history.filter((one) => known.has(one)).map((one) => known.get(one) as number);
    return Int32Array.from(rows.slice(-this.tools.encoder.historyItems));
  }

  private knownRow(productId: string): number {
    return this.knownRows([productId])[0] as number;
  }

  private knownRows(productIds: readonly string[]): Int32Array {
    checkIds(productIds, "productIds");
    const known = this.products.rowsOf([...new Set(productIds)]);
    for (const one of productIds) {
      if (!known.has(one)) {
        throw new ConfigError(`the catalogue has no product '${one}'; 'search' shows which there are`);
      }
    }
    return Int32Array.from(productIds, (one) => known.get(one) as number);
  }
}

function pageOf(ranked: Ranked, offset: number, k: number): Ranked {
  return { rows: ranked.rows.slice(offset, offset + k), scores: ranked.scores.slice(offset, offset + k) };
}
