/** What goes out: what visitors see and do, as far as they allow, to a sync server that counts each event once. */

import { DownloadError, HttpStatusError, PocketrecError, reasonOf } from "../contract/errors.js";
import { isKnownKind, KINDS_WITH_QUERY } from "../contract/events.js";
import { type FeedbackEvent, FeedbackQueue, type Identity, type SequencedEvent } from "./event_queue.js";

/** What may leave this device: nothing, events without what was typed, or everything (edge_runtime/feedback/privacy.py). */
export type Privacy = "off" | "events" | "full";

const PRIVACY_KEY = "pocketrec-privacy";
const BATCH = 200;
const SEND_MS = 3_000;
const TIMEOUT_MS = 15_000;

/** What a page shows of its feedback. */
export interface FeedbackStatus {
  readonly privacy: Privacy;
  readonly enrolled: boolean;
  readonly waiting: number;
  readonly sent: number;
  /** Events of a kind that this runtime does not know, which were not sent. */
  readonly leftOut: number;
  readonly trouble: string | null;
}

/** How feedback goes out. */
export interface FeedbackOptions {
  /** The address of the sync server, below which its `v1/` lies. */
  readonly server: string;
  /** Whether the network may be used now; by default, whether the browser has one. */
  readonly isOnline?: () => boolean;
  /** Hears of every change of the status. */
  readonly changed?: (status: FeedbackStatus) => void;
}

interface Receipt {
  readonly acknowledged: number;
}

/** Records and sends; enrolls this browser when it has a code. */
export class Feedback {
  private identity: Identity | null = null;
  private sent = 0;
  private leftOut = 0;
  private waiting = 0;
  private trouble: string | null = null;
  private privacy: Privacy = readPrivacy();
  private pending: Promise<void> = Promise.resolve();

  private constructor(
    private readonly queue: FeedbackQueue | null,
    private readonly options: FeedbackOptions,
  ) {}

  /** Open this browser's queue; a browser without a database sends nothing. */
  static async open(options: FeedbackOptions): Promise<Feedback> {
    const queue = await FeedbackQueue.open().catch(() => null);
    const feedback = new Feedback(queue, options);
    feedback.identity = (await queue?.identity()) ?? null;
    feedback.waiting = (await queue?.waiting()) ?? 0;
    setInterval(() => void feedback.send(), SEND_MS);
    feedback.tell();
    return feedback;
  }

  /** Return what a page shows. */
  get status(): FeedbackStatus {
    const { privacy, waiting, sent, leftOut, trouble } = this;
    return { privacy, enrolled: this.identity !== null, waiting, sent, leftOut, trouble };
  }

  /** Choose what may leave this device; "off" also forgets what waits. */
  async allow(privacy: Privacy): Promise<void> {
    this.privacy = privacy;
    localStorage.setItem(PRIVACY_KEY, privacy);
    if (privacy === "off") await this.queue?.forget();
    await this.count();
  }

  /** Store events, as far as the visitor allows; they go out when there is a network. */
  record(events: readonly FeedbackEvent[]): void {
    const { queue } = this;
    if (queue === null || this.privacy === "off" || events.length === 0) return;
    const allowed = events.map((event) => permitted(event, this.privacy));
    this.pending = this.pending
      .then(() => queue.record(allowed))
      .then(() => this.count())
      .catch((error: unknown) => this.fail(error));
  }

  /**
   * Exchange a one-time code for an identity.
   *
   * The credential is kept before it is sent. When the answer is lost, the same code may be sent again.
   *
   * @throws PocketrecError this browser keeps no data, or the server refuses the code.
   */
  async enroll(code: string): Promise<void> {
    if (this.queue === null) {
      throw new PocketrecError("this browser keeps no data, so it cannot be enrolled; let it store data for this site");
    }
    const credential = await this.queue.credential(randomName(32));
    const answer = await this.post<{ device_id: string }>("v1/devices/enroll", { code, credential }, null);
    this.identity = { deviceId: answer.device_id, credential };
    await this.queue.keepIdentity(this.identity);
    this.trouble = null;
    await this.send();
    this.tell();
  }

  /** Ask the server to rank instead of this device; null when it cannot: not enrolled, or it does not rank. */
  async rank(query: string, k: number): Promise<readonly string[] | null> {
    if (this.identity === null) return null;
    const answer = await this.post<{ product_ids: string[] }>("v1/rank", { query, k }, this.identity.credential);
    return answer.product_ids;
  }

  /** Send what waits, one tab at a time. */
  async send(): Promise<void> {
    const { identity, queue } = this;
    if (identity === null || queue === null || !this.isOnline() || this.privacy === "off") return;
    try {
      await navigator.locks.request("pocketrec-feedback", async () => this.sendAll(queue, identity));
      this.trouble = null;
    } catch (error) {
      this.fail(error);
    }
    await this.count();
  }

  private async sendAll(queue: FeedbackQueue, identity: Identity): Promise<void> {
    for (let waiting = await queue.oldest(BATCH); waiting.length > 0; waiting = await queue.oldest(BATCH)) {
      // What a newer runtime left here and this one knows no rule for is not sent, and does not hold up the rest.
      const events = waiting.filter(({ event }) => isKnownKind(event.kind));
      this.leftOut += waiting.length - events.length;
      if (events.length > 0) await this.sendBatch(events, identity);
      await queue.acknowledge(waiting.at(-1)?.sequence ?? 0);
    }
  }

  private async sendBatch(events: readonly SequencedEvent[], identity: Identity): Promise<void> {
    const receipt = await this.post<Receipt>("v1/feedback", this.batchOf(events, identity), identity.credential);
    if (receipt.acknowledged !== events.at(-1)?.sequence) {
      throw new DownloadError("the server's receipt names other events than were sent; they are sent again");
    }
    this.sent += events.length;
  }

  private batchOf(events: readonly SequencedEvent[], identity: Identity): object {
    const allowed = events.map(({ sequence, event }) => ({ sequence, event: permitted(event, this.privacy) }));
    return { version: 1, device_id: identity.deviceId, events: allowed, sent_at_s: Date.now() / 1_000 };
  }

  private async count(): Promise<void> {
    this.waiting = (await this.queue?.waiting()) ?? 0;
    this.tell();
  }

  private fail(error: unknown): void {
    this.trouble = reasonOf(error);
    this.tell();
  }

  private tell(): void {
    this.options.changed?.(this.status);
  }

  private isOnline(): boolean {
    return this.options.isOnline?.() ?? navigator.onLine;
  }

  private async post<T>(path: string, body: object, credential: string | null): Promise<T> {
    const headers: Record<string, string> = { "Content-Type": "application/json" };
    if (credential !== null) headers["Authorization"] = `Bearer ${credential}`;
    const options = { method: "POST", headers, body: JSON.stringify(body), signal: AbortSignal.timeout(TIMEOUT_MS) };
    const answer = await fetch(new URL(path, this.options.server), options);
    const said = (await answer.json()) as T & { error?: string };
    if (answer.ok) return said;
    throw new HttpStatusError(said.error ?? `the server answered with status ${String(answer.status)}`, answer.status);
  }
}

/** Return a random name of `size` bytes, for credentials and lists. */
export function randomName(size: number): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(size)), (one) => one.toString(16).padStart(2, "0")).join("");
}

function permitted(event: FeedbackEvent, privacy: Privacy): FeedbackEvent {
  if (privacy === "full" && KINDS_WITH_QUERY.includes(event.kind)) return event;
  const { query: _, ...rest } = event;
  return rest;
}

function readPrivacy(): Privacy {
  const kept = localStorage.getItem(PRIVACY_KEY);
  return kept === "off" || kept === "full" ? kept : "events";
}
