/** The TUF client: which targets of a server the trusted keys have signed. */

import { ExpiredReleaseError, PocketrecError, SignatureError } from "../contract/errors.js";
import { type Offer } from "../contract/offer.js";
import { download } from "./downloads.js";
import { type Target, TrustedMetadata } from "./trusted_metadata.js";

const PREFIX = "pocketrec-trust:";
const FILES = "/pocketrec-metadata/";
const FIRST_ROOT = "root.json";
const CLOCK_TOLERANCE_MS = 86_400_000; // covers a clock that is set to another time zone
const MAX_DELEGATIONS = 32; // this and the limits below: defaults of python-tuf
const MAX_ROOTS = 256;
const MAX_ROOT_BYTES = 512_000;
const MAX_SNAPSHOT_BYTES = 2_000_000;
const MAX_TARGETS_BYTES = 5_000_000;

/** The metadata of a server that was trusted last, which is what makes a rollback visible. */
export class MetadataStore {
  private readonly memory = new Map<string, Uint8Array>();

  private constructor(private readonly cache: Cache | null) {}

  /** Open the store of a server; where the browser has none, it remembers as long as the page is open. */
  static async open(server: string): Promise<MetadataStore> {
    const cache = "caches" in globalThis ? await caches.open(PREFIX + server).catch(() => null) : null;
    return new MetadataStore(cache);
  }

  /** Return what was written under `name`, or null. */
  async read(name: string): Promise<Uint8Array | null> {
    const found = await this.cache?.match(FILES + name);
    return found === undefined ? (this.memory.get(name) ?? null) : new Uint8Array(await found.arrayBuffer());
  }

  /** Keep metadata that was checked. */
  async write(name: string, data: Uint8Array): Promise<void> {
    if (this.cache === null) this.memory.set(name, data);
    else await this.cache.put(FILES + name, new Response(data as Uint8Array<ArrayBuffer>));
  }
}

/** Where the trust of a browser begins, and what time it is. */
export interface Trust {
  readonly store: MetadataStore;
  /** The root.json that came with the app; null trusts the root that the server has at the first visit, and keeps it. */
  readonly trustedRoot: Uint8Array | null;
  readonly now: Date;
}

/** The targets that the trusted keys have signed. */
export class TrustedTargets {
  private constructor(
    private readonly trusted: TrustedMetadata,
    private readonly url: string,
    private readonly store: MetadataStore,
  ) {}

  /**
   * Fetch and check root, timestamp (which the offer brings), snapshot and targets of a server.
   *
   * Stopped halfway, the store holds only metadata that was checked.
   *
   * @throws SignatureError, RollbackError, ExpiredReleaseError the metadata is not to be trusted.
   * @throws DownloadError the network.
   */
  static async refresh(server: string, offer: Offer, trust: Trust): Promise<TrustedTargets> {
    const { store, now } = trust;
    const url = `${server}/v1/tuf/`;
    const trusted = await TrustedMetadata.of(await firstRoot(url, offer, trust), now);
    const targets = new TrustedTargets(trusted, url, store);
    await targets.followRoots(Math.min(offer.root_version, trusted.rootVersion + MAX_ROOTS));
    await targets.loadTimestamp(new TextEncoder().encode(offer.timestamp));
    await targets.loadSnapshot();
    await targets.loadTargets("targets", null);
    return targets;
  }

  /** Return a signed target of a channel, whose team may have signed it under the channel's name; null when none is signed. */
  async find(path: string, channel: string): Promise<Target | null> {
    const own = path.startsWith("channels/") ? null : await this.search(`channels/${channel}/${path}`);
    return own ?? this.search(path);
  }

  /** Return where the content of a target is downloaded. */
  urlOf(target: Target): string {
    const end = target.path.lastIndexOf("/") + 1;
    return `${this.url}targets/${target.path.slice(0, end)}${target.sha256}.${target.path.slice(end)}`;
  }

  /** Walk the delegations from the targets role, most trusted first. */
  private async search(path: string): Promise<Target | null> {
    let waiting: [string, string | null][] = [["targets", null]];
    const visited = new Set<string>();
    for (let next = waiting.pop(); next !== undefined && visited.size <= MAX_DELEGATIONS; next = waiting.pop()) {
      const [role, delegator] = next;
      if (visited.has(role)) continue;
      await this.loadTargets(role, delegator);
      const found = this.trusted.target(role, path);
      if (found !== null) return found;
      visited.add(role);
      const children: [string, string][] = [];
      for (const { name, last } of this.trusted.delegates(role, path)) {
        children.push([name, role]);
        if (!last) continue;
        waiting = [];
        break;
      }
      waiting.push(...children.reverse());
    }
    return null;
  }

  private async followRoots(newest: number): Promise<void> {
    while (this.trusted.rootVersion < newest) {
      const name = `${String(this.trusted.rootVersion + 1)}.root.json`;
      if (await this.isKept(name, (data) => this.trusted.updateRoot(data))) continue;
      const { data } = await download(this.url + name, MAX_ROOT_BYTES, "default");
      await this.trusted.updateRoot(data);
      await this.store.write(name, data);
    }
  }

  private async loadTimestamp(data: Uint8Array): Promise<void> {
    await this.isKept("timestamp.json", (kept) => this.trusted.updateTimestamp(kept));
    if (await this.trusted.updateTimestamp(data)) await this.store.write("timestamp.json", data);
  }

  private async loadSnapshot(): Promise<void> {
    if (await this.isKept("snapshot.json", (kept) => this.trusted.updateSnapshot(kept, true))) return;
    const { version, length = MAX_SNAPSHOT_BYTES } = this.trusted.snapshotMeta;
    const { data } = await download(`${this.url}${String(version)}.snapshot.json`, length, "default");
    await this.trusted.updateSnapshot(data);
    await this.store.write("snapshot.json", data);
  }

  private async loadTargets(role: string, delegator: string | null): Promise<void> {
    if (this.trusted.hasTargets(role)) return;
    const name = `${encodeURIComponent(role)}.json`;
    if (await this.isKept(name, (kept) => this.trusted.updateTargets(kept, role, delegator))) return;
    const { version, length = MAX_TARGETS_BYTES } = this.trusted.targetsMeta(role);
    const { data } = await download(`${this.url}${String(version)}.${name}`, length, "default");
    await this.trusted.updateTargets(data, role, delegator);
    await this.store.write(name, data);
  }

  /** Return whether metadata that was kept is still to be trusted as it is; if not, it is asked for anew. */
  private async isKept(name: string, trust: (data: Uint8Array) => Promise<unknown>): Promise<boolean> {
    const kept = await this.store.read(name);
    if (kept === null) return false;
    try {
      await trust(kept);
      return true;
    } catch (error) {
      if (error instanceof PocketrecError) return false;
      throw error;
    }
  }
}

async function firstRoot(url: string, offer: Offer, { store, trustedRoot }: Trust): Promise<Uint8Array> {
  const known = trustedRoot ?? (await store.read(FIRST_ROOT));
  if (known !== null) return known;
  const { data } = await download(`${url}${String(offer.root_version)}.root.json`, MAX_ROOT_BYTES, "default");
  await TrustedMetadata.of(data, new Date(0));
  await store.write(FIRST_ROOT, data);
  return data;
}

/**
 * Refuse to judge what is out of date by a clock that cannot be right.
 *
 * @throws ExpiredReleaseError the clock is more than a day behind the release.
 * @throws SignatureError `publishedAt` is no time.
 */
export function checkClock(publishedAt: string, now: Date): void {
  const published = Date.parse(publishedAt);
  if (Number.isNaN(published)) throw new SignatureError("the release note says no time of publication; publish again");
  if (now.getTime() >= published - CLOCK_TOLERANCE_MS) return;
  throw new ExpiredReleaseError(
    `this device's clock says ${now.toISOString().slice(0, 10)}, but the release was published on ${publishedAt}: with a ` +
      "wrong clock no release can be recognized as current; set the clock, then try again",
  );
}
