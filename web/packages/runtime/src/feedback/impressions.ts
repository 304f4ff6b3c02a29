/** Which products were really seen: a list that stays for a second, noted once, by place. */

import { randomName } from "./collector.js";
import { type FeedbackEvent } from "./event_queue.js";

const SEEN_MS = 1_000;

/** A list of products that is shown for a query. */
export interface ShownList {
  readonly query: string;
  readonly productIds: readonly string[];
}

/** The list that is shown, and the events that it gives. */
export class Impressions {
  private timer: ReturnType<typeof setTimeout> | undefined;
  private listId = randomName(8);
  private shown: ShownList | null = null;
  private bundleId = "";

  constructor(private readonly record: (events: readonly FeedbackEvent[]) => void) {}

  /** Another list is shown. */
  list(shown: ShownList, bundleId: string): void {
    clearTimeout(this.timer);
    this.listId = randomName(8);
    this.shown = shown;
    this.bundleId = bundleId;
    const seen = (): void => {
      this.record(shown.productIds.map((id, place) => this.event("impression", id, place + 1)));
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
    // The list shows the ranking as it is: every product is at its own rank with certainty.
    const place = { position, rank: position, propensity: 1, list_id: this.listId };
    return { ...base, ...place, query: this.shown.query };
  }

  /** Say which bundle ranks from now on. */
  rankedBy(bundleId: string): void {
    this.bundleId = bundleId;
  }
}
