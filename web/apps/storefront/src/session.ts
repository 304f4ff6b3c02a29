/** The bundle that this visit uses: opened from what the browser keeps, and replaced live when the server has a newer one. */

import { DownloadError, type Installed, Polling, type Recommender, reasonOf, Updater } from "pocketrec-web";

import { isClosed, noteReachable } from "./network.js";

/** A new release reaches an open page within a minute; without one, the server answers from memory (304). */
const POLL_MS = 60_000;

/** What the page hears of its bundle. */
export interface SessionListener {
  /** A first or another bundle answers from now on; `installed` is null for one that was kept. */
  opened(recommender: Recommender, installed: Installed | null): void;
  /** Something went wrong; the bundle that is there goes on. */
  trouble(reason: string): void;
}

/** Opens and follows the bundle of one channel. */
export class Session {
  recommender: Recommender | null = null;

  /** When the page had its bundle ready, in milliseconds since it was opened. */
  readyAfterMs: number | null = null;

  private readonly polling = new Polling(() => this.ask(), { intervalMs: POLL_MS });
  private troubleTold: string | null = null;

  private constructor(
    private readonly updater: Updater,
    private readonly listener: SessionListener,
  ) {}

  /** Follow the bundle at `url`. */
  static async of(url: string, listener: SessionListener): Promise<Session> {
    return new Session(await Updater.of(url), listener);
  }

  /** Which release of the channel answers; null when none does. */
  get release(): number | null {
    return this.updater.release?.release ?? null;
  }

  /** Open the kept bundle, then ask the server, now and again and again. */
  async start(): Promise<void> {
    const kept = await this.updater.openKept();
    if (kept !== null) this.use(kept, null);
    addEventListener("online", () => void this.refresh());
    await this.refresh();
  }

  /** Ask the server now, unless the page is asking. */
  async refresh(): Promise<void> {
    await this.polling.now();
  }

  private async ask(): Promise<void> {
    // Closed by the visitor, nothing is asked; without a reachable server, asking finds out when it is back.
    if (isClosed()) return;
    try {
      const installed = await this.updater.update(this.recommender?.bundle.bundleId ?? null);
      noteReachable(true);
      this.troubleTold = null;
      if (installed !== null) this.use(installed.recommender, installed);
    } catch (error) {
      if (error instanceof DownloadError && this.recommender !== null) noteReachable(false);
      else this.tell(reasonOf(error));
      throw error;
    }
  }

  /** A bundle that is refused at every poll is told of once. */
  private tell(reason: string): void {
    if (this.troubleTold === null) this.listener.trouble(reason);
    this.troubleTold = reason;
  }

  private use(recommender: Recommender, installed: Installed | null): void {
    const old = this.recommender;
    this.recommender = recommender;
    this.readyAfterMs ??= performance.now();
    this.listener.opened(recommender, installed);
    // An answer may be under way in the old one.
    setTimeout(() => old?.close(), 5_000);
  }
}
