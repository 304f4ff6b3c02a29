/** Making elements in few words; text only ever becomes text, never markup. */

type Child = Node | string | null | undefined | false;
type Attributes = Readonly<Record<string, string | number | boolean | EventListener | null | undefined>>;

/** Make an element: `make("button.primary", { type: "button", onclick: buy }, "Buy")`. */
export function make(kind: string, attributes: Attributes = {}, ...children: readonly Child[]): HTMLElement {
  const [tag = "div", ...classes] = kind.split(".");
  const element = document.createElement(tag);
  if (classes.length > 0) element.classList.add(...classes);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.replace(/^on/, ""), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter(isShown));
  return element;
}

function isShown(child: Child): child is Node | string {
  return child !== null && child !== undefined && child !== false;
}

/** Return the one element of the page that fits `selector`. */
export function find<T extends HTMLElement = HTMLElement>(selector: string): T {
  const element = document.querySelector<T>(selector);
  if (element === null) throw new Error(`the page has no ${selector}`);
  return element;
}

/** Set a style that is computed, such as a width; the page's policy forbids style attributes in markup. */
export function styled(element: HTMLElement, properties: Readonly<Record<string, string>>): HTMLElement {
  for (const [name, value] of Object.entries(properties)) element.style.setProperty(name, value);
  return element;
}

/** Show a message for a few seconds. */
export function toast(text: string, kind: "news" | "trouble" = "news"): void {
  const shown = make(`p.toast.${kind}`, {}, text);
  find(".toasts").append(shown);
  setTimeout(() => shown.classList.add("leaving"), 5_600);
  setTimeout(() => shown.remove(), 6_000);
}
