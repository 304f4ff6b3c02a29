/** Asking a server again and again: spread evenly over all visitors, and more seldom when there is a problem. */

import { HttpStatusError } from "./contract/errors.js";

// As edge_runtime/node_loop.py, where the numbers are explained.
const LEAST_OF_RETRY = 0.5;
const JITTER = 0.1;
const FIRST_RETRY_MS = 5_000;
const LONGEST_RETRY_MS = 3_600_000;

/**
 * Return how many milliseconds to wait before the server is asked again.
 *
 * After a success: the interval, up to 10% more or less. After `failures` in a row: between half and all of a time that
 * doubles from 5 s up to the interval. Never before the server's Retry-After has passed.
 *
 * @param chance gives numbers in [0, 1).
 */
export function nextDelayMs(intervalMs: number, failures: number, chance: () => number, retryAfterMs = 0): number {
  const between = (low: number, high: number): number => low + (high - low) * chance();
  if (failures === 0) return intervalMs * between(1 - JITTER, 1 + JITTER);
  const longest = Math.min(intervalMs, LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(failures - 1, 20));
  return Math.max(longest * between(LEAST_OF_RETRY, 1), retryAfterMs * between(1, 1 + JITTER));
}

/** How a server is asked. */
export interface PollingOptions {
  /** Milliseconds between two successes. */
  readonly intervalMs: number;
  /** Source of the jitter; `Math.random` by default. */
  readonly chance?: () => number;
  /** The page, whose hidden time is not used for asking; null in a worker. */
  readonly page?: Pick<Document, "hidden" | "addEventListener"> | null;
}

/** Calls `ask` again and again; a page that is not looked at asks nothing, and asks when it is looked at again. */
export class Polling {
  private timer: ReturnType<typeof setTimeout> | undefined;
  private busy: Promise<void> | null = null;
  private failures = 0;
  private due = true;
  private readonly page: Pick<Document, "hidden" | "addEventListener"> | null;

  /** Ask by `ask`, whose failures are its own matter: they only decide how soon it is called again. */
  constructor(
    private readonly ask: () => Promise<void>,
    private readonly options: PollingOptions,
  ) {
    const here = typeof document === "undefined" ? null : document;
    this.page = options.page === undefined ? here : options.page;
    this.page?.addEventListener("visibilitychange", () => {
      if (this.due && !this.page?.hidden) void this.now();
    });
  }

  /** Ask now, unless an answer is awaited already; ask again after a while. */
  async now(): Promise<void> {
    this.busy ??= this.asked().finally(() => (this.busy = null));
    await this.busy;
  }

  private async asked(): Promise<void> {
    clearTimeout(this.timer);
    this.due = false;
    let retryAfterMs = 0;
    try {
      await this.ask();
      this.failures = 0;
    } catch (error) {
      this.failures += 1;
      if (error instanceof HttpStatusError) retryAfterMs = error.retryAfterS * 1_000;
    }
    const { intervalMs, chance = Math.random } = this.options;
    this.timer = setTimeout(() => this.fall(), nextDelayMs(intervalMs, this.failures, chance, retryAfterMs));
  }

  private fall(): void {
    this.due = true;
    if (!this.page?.hidden) void this.now();
  }
}
