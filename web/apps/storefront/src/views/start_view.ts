/** What the page shows before anything is typed: examples, what fits to what was looked at, what is popular. */

import { type Recommender } from "pocketrec-web";

import { make } from "../dom.js";
import { shortened } from "../formats.js";
import { forgetLooks, lookedAt } from "../history.js";
import { productCard } from "./product_card.js";

const ROW = 5;
const EXAMPLES = ["cofee tabel oak", "wireless earphones", "gift for a dog", "warm light bedroom", "runing shoes blck"];

/** What the view tells the page. */
export interface StartActions {
  readonly open: (productId: string) => void;
  readonly search: (query: string) => void;
  readonly again: () => void;
}

/** Return the view. */
export async function startView(recommender: Recommender, actions: StartActions): Promise<HTMLElement[]> {
  const history = lookedAt().filter((one) => recommender.has(one));
  const rows = history.length > 0 ? await personalRows(recommender, history, actions) : [];
  const popular = await recommender.recommend([], { k: ROW });
  const cards = popular.productIds.map((id) => productCard({ product: recommender.product(id), open: actions.open }));
  return [examples(actions), ...rows, section("Popular now", null, cards)];
}

function examples(actions: StartActions): HTMLElement {
  const chips = EXAMPLES.map((text) =>
    make("button.chip", { type: "button", onclick: () => actions.search(text) }, text),
  );
  return make(
    "section.hello",
    {},
    make("h1", {}, "A shop that searches on ", make("em", {}, "your"), " device"),
    make(
      "p",
      {},
      "The model and the whole catalogue are in this browser. What you type goes nowhere, and it works without a network.",
    ),
    make("div.chips", {}, ...chips),
  );
}

async function personalRows(
  recommender: Recommender,
  history: readonly string[],
  actions: StartActions,
): Promise<HTMLElement[]> {
  const last = history.at(-1) as string;
  const title = shortened(recommender.product(last).title, 48);
  const like = await recommender.similar(last, { k: ROW, exclude: history.filter((one) => one !== last) });
  const rows = [
    section(
      `Because you looked at ${title}`,
      forgetButton(actions),
      like.productIds.map((id) => productCard({ product: recommender.product(id), open: actions.open })),
    ),
  ];
  if (history.length > 1) rows.push(await mixedRow(recommender, history, like.productIds, actions));
  return rows;
}

/** What the history as a whole leads to; each card names the product of the history that counted most. */
async function mixedRow(
  recommender: Recommender,
  history: readonly string[],
  shown: readonly string[],
  actions: StartActions,
): Promise<HTMLElement> {
  const found = await recommender.recommend(history, { k: ROW, exclude: [...history, ...shown] });
  const cards: HTMLElement[] = [];
  for (const id of found.productIds) {
    const { items } = await recommender.explainHistory(history, id);
    const [most] = [...items].sort((a, b) => b.contribution - a.contribution);
    const cause = most === undefined ? null : recommender.product(most.productId).title;
    const reason = cause === null ? undefined : `because of ${shortened(cause, 40)}`;
    cards.push(productCard({ product: recommender.product(id), open: actions.open, reason }));
  }
  return section("From everything you looked at", null, cards);
}

function forgetButton(actions: StartActions): HTMLElement {
  const forget = (): void => {
    forgetLooks();
    actions.again();
  };
  return make("button.quiet", { type: "button", onclick: forget }, "Forget what I looked at");
}

function section(title: string, action: HTMLElement | null, cards: readonly HTMLElement[]): HTMLElement {
  return make("section.shelf", {}, make("header", {}, make("h2", {}, title), action), make("div.row", {}, ...cards));
}
