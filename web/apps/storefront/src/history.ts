/** What was looked at and bought on this device. It stays here, and can be forgotten. */

const KEY = "pocketrec-looked-at";
const LIMIT = 30;

/** Return the products that were looked at, newest last, each once. */
export function lookedAt(): readonly string[] {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(kept) ? kept.filter((one): one is string => typeof one === "string") : [];
  } catch {
    return [];
  }
}

/** Note that a product was looked at. */
export function noteLook(productId: string): void {
  keep([...lookedAt().filter((one) => one !== productId), productId].slice(-LIMIT));
}

/** Forget everything that was looked at. */
export function forgetLooks(): void {
  keep([]);
}

function keep(ids: readonly string[]): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(ids));
  } catch {
    // A browser that keeps nothing still searches; there is only no "because you looked at".
  }
}
