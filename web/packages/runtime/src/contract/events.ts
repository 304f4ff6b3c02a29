/** Kinds of feedback events: those of edge_runtime/contract/events.py, in its order. */

export const EVENT_KINDS = ["impression", "view", "click", "cart", "purchase", "dismissal"] as const;

/** What happened to a product. */
export type EventKind = (typeof EVENT_KINDS)[number];

/** Kinds that carry what was typed; from the others the text is removed. */
export const KINDS_WITH_QUERY: readonly EventKind[] = ["impression", "click", "cart", "purchase", "dismissal"];

/** Return whether this runtime knows what a kind means; a newer one may have left others in the queue. */
export function isKnownKind(kind: string): kind is EventKind {
  return (EVENT_KINDS as readonly string[]).includes(kind);
}
