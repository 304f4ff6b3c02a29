/** The bundle that this visit uses: opened from what the browser keeps, and replaced live when the server has a newer one. */

import { DownloadError, type Installed, type Recommender, reasonOf, Updater } from "pocketrec-web";

import { isClosed, noteReachable } from "./network.js";

const POLL_MS = 4_000;

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

  private busy: Promise<void> | null = null;

  private constructor(
    private readonly updater: Updater,
    private readonly listener: SessionListener,
  ) {}

  /** Follow the bundle at `url`. */
  static async of(url: string, listener: SessionListener): Promise<Session> {
    return new Session(await Updater.of(url), listener);
  }

  /** Which release of the channel answers; null when the server was not asked. */
  get release(): number | null {
    return this.updater.release;
  }

  /** Open the kept bundle, then ask the server, now and again and again. */
  async start(): Promise<void> {
    const kept = await this.updater.openKept();
    if (kept !== null) this.use(kept, null);
    await this.refresh();
    setInterval(() => {
      if (!document.hidden) void this.refresh();
    }, POLL_MS);
  }

  /** Ask the server once, unless the page is offline or is asking. */
  async refresh(): Promise<void> {
    // Closed by the visitor, nothing is asked; without a reachable server, asking finds out when it is back.
    if (isClosed()) return;
    this.busy ??= this.ask().finally(() => (this.busy = null));
    await this.busy;
  }

  private async ask(): Promise<void> {
    try {
      const installed = await this.updater.update(this.recommender?.bundle.bundleId ?? null);
      noteReachable(true);
      if (installed !== null) this.use(installed.recommender, installed);
    } catch (error) {
      if (error instanceof DownloadError && this.recommender !== null) noteReachable(false);
      else this.listener.trouble(reasonOf(error));
    }
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
