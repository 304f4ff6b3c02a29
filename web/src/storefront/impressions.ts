/** Which products were really seen: a list that stays for a second, noted once, by place. */

import { type FeedbackEvent } from "./queue.js";
import { randomName } from "./feedback.js";
import { type Found } from "./search_view.js";

const SEEN_MS = 1_000;

/** The list that is shown, and the events that it gives. */
export class Impressions {
  private timer: ReturnType<typeof setTimeout> | undefined;
  private listId = randomName(8);
  private shown: Found | null = null;
  private bundleId = "";

  constructor(private readonly record: (events: readonly FeedbackEvent[]) => void) {}

  /** Another list is shown. */
  list(found: Found, bundleId: string): void {
    clearTimeout(this.timer);
    this.listId = randomName(8);
    this.shown = found;
    this.bundleId = bundleId;
    const seen = (): void => {
      const ids = found.recommendations.productIds;
      this.record(ids.map((id, place) => this.event("impression", id, place + 1)));
    };
    this.timer = setTimeout(seen, SEEN_MS);
  }

  /** No list is shown. */
  none(): void {
    clearTimeout(this.timer);
    this.shown = null;
  }

  /** Return an event of a product; `position` is its place in the list, if it was in one. */
  event(kind: FeedbackEvent["kind"], productId: string, position: number | null): FeedbackEvent {
    const base = { kind, product_id: productId, timestamp_s: Date.now() / 1_000, bundle_id: this.bundleId };
    if (position === null || this.shown === null) return base;
    // The storefront shows the ranking as it is: every product is at its own rank with certainty.
    const place = { position, rank: position, propensity: 1, list_id: this.listId };
    return { ...base, ...place, query: this.shown.query };
  }

  /** Say which bundle ranks from now on. */
  rankedBy(bundleId: string): void {
    this.bundleId = bundleId;
  }
}
