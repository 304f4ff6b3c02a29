/** Search as you type: the newest query wins, the page is redrawn in one go, and the time of both is noted. */

import { ConfigError, normalizeText, type Recommendations, type Recommender, type Where } from "pocketrec-web";

import { find, make } from "../dom.js";
import { counted, count, milliseconds } from "../formats.js";
import { explanationView } from "./explanation_view.js";
import { wantedWords } from "./highlights.js";
import { productCard } from "./product_card.js";

const SHOWN = 12;
const FACET_DEPTH = 100;
const MOST_FACETS = 6;
const MOST_COMPLETIONS = 3;

/** One finished search. */
export interface Found {
  readonly query: string;
  readonly recommendations: Recommendations;
  /** From the typed letter to the finished page. */
  readonly elapsedMs: number;
}

/** What the view tells the page. */
export interface SearchActions {
  readonly open: (productId: string, position: number) => void;
  readonly found: (found: Found) => void;
  readonly complete: (query: string) => void;
  /** The server's products, when it is to rank; null when this device ranks. */
  readonly rankedElsewhere: (query: string, k: number) => Promise<readonly string[] | null>;
}

/** The results and the filters above them. */
export class SearchView {
  private readonly results = find("#results");
  private readonly filters = find(".filters");
  private readonly status = find(".status");
  private asked = 0;
  private category: string | null = null;
  private facetsOf = "";

  constructor(private readonly actions: SearchActions) {}

  /** Show nothing. */
  clear(): void {
    this.asked += 1;
    this.category = null;
    this.facetsOf = "";
    this.results.replaceChildren();
    this.filters.replaceChildren();
    this.status.textContent = "";
  }

  /** Search and show the products; an older search that is still under way shows nothing. */
  async show(recommender: Recommender, query: string): Promise<void> {
    const started = performance.now();
    this.asked += 1;
    const asked = this.asked;
    const where: Where = this.category === null ? {} : { category: this.category };
    try {
      const elsewhere = this.category === null ? await this.actions.rankedElsewhere(query, SHOWN) : null;
      const recommendations =
        elsewhere === null
          ? await recommender.search(query, { k: SHOWN, where })
          : ranked(elsewhere.filter((id) => recommender.has(id)));
      if (asked !== this.asked) return;
      this.draw(recommender, query, recommendations);
      const elapsedMs = performance.now() - started;
      this.say(recommender, recommendations, elapsedMs, elsewhere === null ? "on this device" : "on the server");
      this.actions.found({ query, recommendations, elapsedMs });
      setTimeout(() => void this.showFacets(recommender, query, asked), 0);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      this.status.textContent = error.message;
    }
  }

  private draw(recommender: Recommender, query: string, found: Recommendations): void {
    const wanted = wantedWords(normalizeText(query), found.corrections);
    const explain = async (id: string): Promise<HTMLElement> => explanationView(await recommender.explain(query, id));
    const cards = found.productIds.map((id, place) =>
      productCard({
        product: recommender.product(id),
        wanted,
        open: () => this.actions.open(id, place + 1),
        explain,
      }),
    );
    this.results.replaceChildren(...cards);
  }

  private say(recommender: Recommender, found: Recommendations, elapsedMs: number, place: string): void {
    const shown = make("strong", {}, milliseconds(elapsedMs));
    const corrected = Object.entries(found.corrections).flatMap(([word, read]) => [
      " ",
      make("span.fix", {}, `${word} → ${read.join(" / ")}`),
    ]);
    const parts = found.coldStart
      ? ["Nothing here is known by those words, so these are the most popular products."]
      : [`The best ${count(found.productIds.length)} of ${counted(recommender.length, "product")} in `, shown, ` ${place}`];
    this.status.replaceChildren(...parts, ...corrected);
  }

  /** Offer the departments of what was found as filters, and completions; after the results, for nobody waits for it. */
  private async showFacets(recommender: Recommender, query: string, asked: number): Promise<void> {
    if (this.facetsOf === query && this.filters.childElementCount > 0) {
      this.markFacet();
      return;
    }
    const { category = [] } = await recommender.facets(query, { by: ["category"], limit: FACET_DEPTH });
    if (asked !== this.asked) return;
    const departments = category.filter(({ value }) => !value.includes(" > ")).map(({ value }) => value);
    this.facetsOf = query;
    const most = departments.slice(0, MOST_FACETS);
    if (this.category !== null && !most.includes(this.category)) most.push(this.category);
    const facets = most.length > 1 ? most.map((name) => this.facet(recommender, query, name)) : [];
    this.filters.replaceChildren(...facets, ...this.completions(recommender, query));
    this.markFacet();
  }

  private facet(recommender: Recommender, query: string, name: string): HTMLElement {
    const choose = (): void => {
      this.category = this.category === name ? null : name;
      this.markFacet();
      void this.show(recommender, query);
    };
    return make("button.chip", { type: "button", "data-facet": name, onclick: choose }, name);
  }

  private completions(recommender: Recommender, query: string): HTMLElement[] {
    const typed = query.toLowerCase();
    return recommender
      .suggest(query, MOST_COMPLETIONS + 1)
      .filter(({ kind, text }) => (kind === "query" || kind === "word") && text.toLowerCase() !== typed)
      .slice(0, MOST_COMPLETIONS)
      .map(({ text }) =>
        make("button.chip.completion", { type: "button", onclick: () => this.actions.complete(text) }, text),
      );
  }

  private markFacet(): void {
    for (const chip of this.filters.querySelectorAll<HTMLElement>("[data-facet]")) {
      chip.setAttribute("aria-pressed", String(chip.dataset["facet"] === this.category));
    }
  }
}

/** An answer that only has products: what a server gives. */
function ranked(productIds: readonly string[]): Recommendations {
  const scores = new Float32Array(productIds.length);
  return { productIds, scores, corrections: {}, unknownHistory: [], coldStart: false };
}
