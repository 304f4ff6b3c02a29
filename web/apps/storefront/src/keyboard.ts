/** The keys: "/" goes to the search, arrows go through the products. */

/** Listen to the keys of the whole page. */
export function listenToKeys(search: HTMLInputElement): void {
  window.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]") !== null) return;
    if (isTaken(event.key, event.target, search)) event.preventDefault();
  });
}

function isTaken(key: string, target: EventTarget | null, search: HTMLInputElement): boolean {
  const typing = target instanceof HTMLInputElement;
  if (key === "/" && !typing) {
    search.focus();
    search.select();
    return true;
  }
  if (key === "Escape" && target === search && search.value !== "") {
    search.value = "";
    search.dispatchEvent(new Event("input", { bubbles: true }));
    return true;
  }
  const leavesSearch = target === search && key === "ArrowDown";
  return key.startsWith("Arrow") && (!typing || leavesSearch) && moveFocus(key, search);
}

function moveFocus(key: string, search: HTMLInputElement): boolean {
  const titles = [...document.querySelectorAll<HTMLElement>("main .card .title")];
  const here = titles.findIndex((one) => one === document.activeElement);
  if (here < 0) {
    if (document.activeElement !== search) return false;
    titles[0]?.focus();
    return titles.length > 0;
  }
  const columns = columnsAround(titles, here);
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[key] ?? 0;
  const next = titles[here + step];
  (next ?? (step < 0 ? search : titles[here]))?.focus();
  return true;
}

/** Return how many products stand in one line with the focused one. */
function columnsAround(titles: readonly HTMLElement[], here: number): number {
  const top = (one: HTMLElement | undefined): number | undefined => one?.closest(".card")?.getBoundingClientRect().top;
  const line = top(titles[here]);
  return Math.max(1, titles.filter((one) => top(one) === line).length);
}
