/** Where searches are ranked: on this device, or on the server for comparison, where it ranks (`/v1/rank`). */

import { type Feedback, reasonOf } from "pocketrec-web";

import { make, toast } from "../dom.js";
import { isOnline } from "../network.js";

/** The choice, and the part of the panel that offers it; a server that does not rank is never offered. */
export class RankingChoice {
  readonly section = make("section.ranking", { hidden: true });
  private onServer = false;
  private probed = false;

  constructor(private readonly changed: () => void) {
    const choice = (text: string, onServer: boolean): HTMLElement => {
      const choose = (): void => {
        this.onServer = onServer;
        this.changed();
      };
      const input = make("input", { type: "radio", name: "ranked-by", checked: !onServer, onchange: choose });
      return make("label", {}, input, " ", text);
    };
    const choices = [choice("this device", false), choice("the server, to compare", true)];
    this.section.append(make("fieldset", {}, make("legend", {}, "Searches are ranked by"), ...choices));
  }

  /** Ask once, when this browser is enrolled, whether the server ranks. */
  async probe(feedback: Feedback): Promise<void> {
    if (this.probed || !isOnline() || !feedback.status.enrolled) return;
    this.probed = true;
    try {
      this.section.hidden = (await feedback.rank("a", 1)) === null;
    } catch {
      // It says that it does not rank, which is how most servers are set up.
    }
  }

  /** Return the server's products for a query; null when this device ranks, as it does without a network. */
  async rank(feedback: Feedback | null, query: string, k: number): Promise<readonly string[] | null> {
    if (!this.onServer || feedback === null || !isOnline()) return null;
    try {
      return await feedback.rank(query, k);
    } catch (error) {
      toast(`The server did not rank, this device does: ${reasonOf(error)}`, "trouble");
      return null;
    }
  }
}
