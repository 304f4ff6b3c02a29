/** A product in a list. */

import { type ProductRow } from "pocketrec-web";

import { make } from "../dom.js";
import { price } from "../formats.js";
import { marked } from "./highlights.js";
import { pictureOf } from "./pictures.js";

/** What a card can do. */
export interface CardOptions {
  readonly product: ProductRow;
  /** Words to mark in the title. */
  readonly wanted?: ReadonlySet<string>;
  /** A line that says why the product is here. */
  readonly reason?: string | undefined;
  readonly open: (productId: string) => void;
  /** Gives the explanation that "Why?" shows; without it there is no such button. */
  readonly explain?: (productId: string) => Promise<HTMLElement>;
}

/** Return a card. */
export function productCard({ product, wanted = new Set(), reason, open, explain }: CardOptions): HTMLElement {
  const title = make(
    "button.title",
    { type: "button", onclick: () => open(product.productId) },
    ...marked(product.title, wanted),
  );
  const why = explain === undefined ? null : whyButton(product.productId, explain);
  const cost = product.price === null ? null : make("span.price", {}, price(product.price));
  const brand = product.brand === null ? null : make("span.brand", {}, product.brand);
  return make(
    "article.card",
    { "data-product": product.productId },
    pictureOf(product),
    make("div.facts", {}, brand, make("h3", {}, title), reason === undefined ? null : make("p.reason", {}, reason)),
    make("div.foot", {}, cost, why),
  );
}

function whyButton(productId: string, explain: (productId: string) => Promise<HTMLElement>): HTMLElement {
  const button = make("button.ask", { type: "button", "aria-expanded": "false" }, "Why?");
  button.addEventListener("click", () => {
    const card = button.closest(".card");
    const shown = card?.querySelector(".why");
    if (shown != null) {
      shown.remove();
      button.setAttribute("aria-expanded", "false");
      return;
    }
    button.setAttribute("aria-expanded", "true");
    void explain(productId).then((view) => card?.append(view));
  });
  return button;
}
