/** How long this very device took for the last searches, as figures and as a small picture. */

import { make, styled } from "../dom.js";
import { counted, median, milliseconds } from "../formats.js";

const KEPT = 40;

/** The last searches' milliseconds, from the typed letter to the finished page. */
export class Latencies {
  private readonly values: number[] = [];

  /** Note one search. */
  add(value: number): void {
    this.values.push(value);
    if (this.values.length > KEPT) this.values.shift();
  }

  /** Return the picture and its caption. */
  shown(): HTMLElement {
    const highest = Math.max(...this.values, 1);
    const bars = this.values.map((value, place) => {
      const bar = make(place === this.values.length - 1 ? "i.bar.last" : "i.bar");
      return styled(bar, { height: `${Math.max(6, (value / highest) * 100).toFixed(0)}%` });
    });
    const last = this.values.at(-1);
    const middle = median(this.values);
    const caption =
      middle === null
        ? "Type something: the time that this device takes appears here."
        : `median of ${counted(this.values.length, "search")}: ${milliseconds(middle)}`;
    return make(
      "div.latencies",
      {},
      make("div.figure", {}, make("strong", {}, last === undefined ? "–" : milliseconds(last)), " last search"),
      make("div.bars", { role: "img", "aria-label": caption }, ...bars),
      make("p.small", {}, caption),
    );
  }
}
