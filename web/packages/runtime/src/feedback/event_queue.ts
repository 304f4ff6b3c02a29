/** The durable feedback queue in IndexedDB: numbered events, sent at least once, counted once. */

import { type EventKind } from "../contract/events.js";

const NAME = "pocketrec-feedback";
const EVENTS = "events";
const STATE = "state";

/** The bound; the oldest impressions make room. */
export const MAX_EVENTS = 2_000;

/** An event as the server takes it (edge_runtime/contract/events.py). */
export interface FeedbackEvent {
  readonly kind: EventKind;
  readonly product_id: string;
  readonly timestamp_s: number;
  readonly bundle_id: string;
  readonly position?: number;
  readonly rank?: number;
  readonly propensity?: number;
  readonly list_id?: string;
  readonly query?: string;
}

/** An event with its number, which is never given twice. */
export interface SequencedEvent {
  readonly sequence: number;
  readonly event: FeedbackEvent;
}

/** Who this browser is to the server. */
export interface Identity {
  readonly deviceId: string;
  readonly credential: string;
}

/** Events on their way to the server. */
export class FeedbackQueue {
  private constructor(private readonly database: IDBDatabase) {}

  /** Open the queue of this browser; it is made when missing. */
  static async open(): Promise<FeedbackQueue> {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore(EVENTS, { keyPath: "sequence", autoIncrement: true });
      request.result.createObjectStore(STATE);
    };
    return new FeedbackQueue(await done(request));
  }

  /** Store events; numbers are given by the database, which never gives one twice. */
  async record(events: readonly FeedbackEvent[]): Promise<void> {
    const transaction = this.database.transaction(EVENTS, "readwrite");
    const store = transaction.objectStore(EVENTS);
    for (const event of events) store.add({ event });
    const excess = (await done(store.count())) - MAX_EVENTS;
    if (excess > 0) await this.dropImpressions(store, excess);
    await finished(transaction);
  }

  /** Return the oldest events, at most `limit`, in rising order. */
  async oldest(limit: number): Promise<SequencedEvent[]> {
    const request = this.database.transaction(EVENTS).objectStore(EVENTS).getAll(null, limit);
    return (await done(request)) as SequencedEvent[];
  }

  /** Return how many events wait. */
  async waiting(): Promise<number> {
    return done(this.database.transaction(EVENTS).objectStore(EVENTS).count());
  }

  /** Remove every event up to and including `sequence`: the server has them. */
  async acknowledge(sequence: number): Promise<void> {
    const transaction = this.database.transaction(EVENTS, "readwrite");
    transaction.objectStore(EVENTS).delete(IDBKeyRange.upperBound(sequence));
    await finished(transaction);
  }

  /** Remove every waiting event unsent. */
  async forget(): Promise<void> {
    await this.acknowledge(Number.MAX_SAFE_INTEGER);
  }

  /** Return who this browser is to the server, or null before it is enrolled. */
  async identity(): Promise<Identity | null> {
    const request = this.database.transaction(STATE).objectStore(STATE).get("identity") as IDBRequest<
      Identity | undefined
    >;
    return (await done(request)) ?? null;
  }

  /** Return the credential that this browser enrolls with, `made` at the first call: a lost answer can be asked for again. */
  async credential(made: string): Promise<string> {
    const transaction = this.database.transaction(STATE, "readwrite");
    const store = transaction.objectStore(STATE);
    const kept = (await done(store.get("credential"))) as string | undefined;
    if (kept === undefined) store.put(made, "credential");
    await finished(transaction);
    return kept ?? made;
  }

  /** Keep who this browser is. */
  async keepIdentity(identity: Identity): Promise<void> {
    const transaction = this.database.transaction(STATE, "readwrite");
    transaction.objectStore(STATE).put(identity, "identity");
    await finished(transaction);
  }

  private async dropImpressions(store: IDBObjectStore, excess: number): Promise<void> {
    const events = (await done(store.getAll())) as SequencedEvent[];
    const impressions = events.filter(({ event }) => event.kind === "impression");
    for (const { sequence } of impressions.slice(0, excess)) store.delete(sequence);
  }
}

async function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("the browser's database refused"));
  });
}

async function finished(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onerror = transaction.onabort = () =>
      reject(transaction.error ?? new Error("the browser's database refused"));
  });
}
