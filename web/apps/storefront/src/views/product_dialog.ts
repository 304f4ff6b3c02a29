/** One product, large: what the catalogue says of it, what is like it, and a button that buys it. */

import { type ProductRow, type Recommender } from "pocketrec-web";

import { find, make } from "../dom.js";
import { price } from "../formats.js";
import { pictureOf } from "./pictures.js";
import { productCard } from "./product_card.js";

const ALIKE = 4;

/** What the dialog tells the page. */
export interface DialogActions {
  readonly open: (productId: string) => void;
  readonly buy: (product: ProductRow) => void;
}

/** Show a product; Escape, the button or a click beside it closes it. */
export async function showProduct(recommender: Recommender, productId: string, actions: DialogActions): Promise<void> {
  const dialog = find<HTMLDialogElement>("dialog.product");
  const product = recommender.product(productId);
  const close = make("button.close", { type: "button", "aria-label": "Close", onclick: () => dialog.close() }, "×");
  const buy = make(
    "button.primary",
    {
      type: "button",
      onclick: () => {
        actions.buy(product);
        dialog.close();
      },
    },
    product.price === null ? "Buy" : `Buy for ${price(product.price)}`,
  );
  const alike = await recommender.similar(productId, { k: ALIKE });
  const cards = alike.productIds.map((id) => productCard({ product: recommender.product(id), open: actions.open }));
  dialog.replaceChildren(
    close,
    make("div.large", {}, pictureOf(product), make("div.text", {}, ...facts(product), buy)),
    make("h3", {}, "Close to it, on this device"),
    make("div.row", {}, ...cards),
  );
  dialog.onclick = (event) => {
    if (event.target === dialog) dialog.close();
  };
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  buy.focus({ preventScroll: true });
}

function facts(product: ProductRow): HTMLElement[] {
  const attributes = Object.entries(product.attributes).map(([name, value]) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, value)),
  );
  const parts = [
    product.category === null ? null : make("p.path", {}, product.category.replaceAll(" > ", " › ")),
    make("h2", { id: "product-title" }, product.title),
    product.brand === null ? null : make("p.brand", {}, `by ${product.brand}`),
    product.description === null ? null : make("p", {}, product.description),
    attributes.length === 0 ? null : make("dl", {}, ...attributes),
  ];
  return parts.filter((part): part is HTMLElement => part !== null);
}
