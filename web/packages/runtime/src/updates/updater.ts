/** Getting a bundle from a server, keeping it, and replacing it when a newer one has proved itself. */

import { type Bundle, type BundleSource, openBundle } from "../contract/bundle.js";
import { BundleError, DownloadError, InferenceError, reasonOf } from "../contract/errors.js";
import { type Artifact } from "../contract/manifest.js";
import { readyLiteRt, readySqlite } from "../environment.js";
import { Recommender } from "../recommender.js";
import { BundleStore } from "./bundle_store.js";
import { type ChannelOptions, ChannelSource, type InstalledRelease, type Newest } from "./channel_source.js";
import { HttpSource } from "./http_source.js";
import { type Proof } from "./self_test.js";

const INSTALLED = "installed";
const REFUSED = "refused";
const REMEMBERED_REFUSALS = 10; // as edge_runtime/updates/updater.py

/** What an installation did. */
export interface Installed {
  readonly recommender: Recommender;
  readonly proof: Proof;
  readonly bytesDownloaded: number;
  readonly filesDownloaded: number;
  readonly filesReused: number;
}

/** Why a bundle is refused, and as which release it was offered; null from a plain folder. */
interface Refusal {
  readonly reason: string;
  readonly release: number | null;
}

/** Follows the bundle at one address. */
export class Updater {
  private refused: Readonly<Record<string, Refusal>> | null = null;
  private current: InstalledRelease | null = null;

  private constructor(
    private readonly source: HttpSource | ChannelSource,
    private readonly store: BundleStore | null,
  ) {}

  /**
   * Follow the channel of a sync server, `https://SERVER/v1/channels/NAME`, or a folder of a web server at any other address.
   *
   * What a channel offers is verified by its signatures; a folder is trusted as the origin that serves it.
   */
  static async of(url: string, options: ChannelOptions = {}): Promise<Updater> {
    const address = new URL(url, globalThis.location?.href).href;
    const source = (await ChannelSource.of(address, options)) ?? new HttpSource(address);
    return new Updater(source, await BundleStore.open(address));
  }

  /** Which release of the channel this browser has; null when it has none, or follows a plain folder. */
  get release(): InstalledRelease | null {
    return this.current;
  }

  /** Open the kept bundle, or return null when none is kept, or what is kept is damaged. */
  async openKept(): Promise<Recommender | null> {
    if (this.store === null || (await this.store.installed()) === null) return null;
    try {
      const recommender = await Recommender.load(await openBundle(this.store));
      this.current = await this.releaseOf(recommender.bundle.bundleId);
      return recommender;
    } catch {
      return null;
    }
  }

  /**
   * Get what the server has now; null when it is the bundle `bundleId`.
   *
   * A bundle that does not prove itself is not kept. It is remembered, and no byte of it is downloaded again until it is
   * published as a newer release.
   *
   * @throws SignatureError, RollbackError, ExpiredReleaseError what the channel offers is not to be trusted.
   * @throws DownloadError no network, or another answer than agreed; call again to continue where it broke off.
   * @throws BundleError the new bundle is malformed, or does not give its golden answers here, now or before.
   * @throws InferenceError it cannot be run here.
   */
  async update(bundleId: string | null = null): Promise<Installed | null> {
    const newest = await this.source.newest(this.current);
    if (newest.bundleId === bundleId) {
      await this.noteRelease(newest.release);
      return null;
    }
    await this.checkNotRefused(newest);
    const manifest = await newest.manifest();
    const arriving = new ArrivingBundle(this.source.name, manifest, newest, this.store);
    const bundle = await openBundle(arriving);
    // Where these cannot be loaded, the bundle is not to blame.
    await Promise.all([readyLiteRt(), readySqlite()]);
    const { recommender, proof } = await this.proved(bundle, newest.release?.release ?? null);
    try {
      await this.store?.install(manifest);
      await this.noteRelease(newest.release);
    } catch (error) {
      recommender.close();
      throw error;
    }
    const { bytesDownloaded, filesDownloaded, filesReused } = arriving;
    return { recommender, proof, bytesDownloaded, filesDownloaded, filesReused };
  }

  /** Return what was noted of a bundle's release; a note of another bundle was left by a visit that ended in between. */
  private async releaseOf(bundleId: string): Promise<InstalledRelease | null> {
    const noted = (await this.store?.noted(INSTALLED)) as InstalledRelease | null | undefined;
    return noted?.bundleId === bundleId ? noted : null;
  }

  private async noteRelease(release: InstalledRelease | null): Promise<void> {
    if (JSON.stringify(release) !== JSON.stringify(this.current)) await this.store?.note(INSTALLED, release);
    this.current = release;
  }

  private async proved(bundle: Bundle, release: number | null): Promise<{ recommender: Recommender; proof: Proof }> {
    let recommender: Recommender | null = null;
    try {
      recommender = await Recommender.load(bundle);
      return { recommender, proof: await recommender.prove() };
    } catch (error) {
      recommender?.close();
      if (error instanceof BundleError || error instanceof InferenceError) {
        await this.refuse(bundle.bundleId, { reason: reasonOf(error), release });
      }
      throw error;
    }
  }

  private async refuse(bundleId: string, refusal: Refusal): Promise<void> {
    const others = Object.entries(await this.refusals()).filter(([id]) => id !== bundleId);
    this.refused = { ...Object.fromEntries(others.slice(1 - REMEMBERED_REFUSALS)), [bundleId]: refusal };
    await this.store?.note(REFUSED, this.refused);
    await this.store?.clean();
  }

  private async refusals(): Promise<Readonly<Record<string, Refusal>>> {
    this.refused ??= ((await this.store?.noted(REFUSED)) ?? {}) as Record<string, Refusal>;
    return this.refused;
  }

  private async checkNotRefused({ bundleId, release }: Newest): Promise<void> {
    const refusal = (await this.refusals())[bundleId];
    if (refusal === undefined || (release?.release ?? 0) > (refusal.release ?? 0)) return;
    throw new BundleError(
      `bundle ${bundleId.slice(0, 12)} did not work in this browser before and is not tried again (${refusal.reason}); ` +
        "publish a better one, the same as a new release, or clear this site's data to try it once more",
    );
  }
}

/** Open the newest bundle of `url`; without a network, the one that was kept. */
export async function openNewest(url: string, options: ChannelOptions = {}): Promise<Recommender> {
  const updater = await Updater.of(url, options);
  const kept = await updater.openKept();
  try {
    const installed = await updater.update(kept?.bundle.bundleId ?? null);
    if (installed === null && kept !== null) return kept;
    if (installed !== null) {
      kept?.close();
      return installed.recommender;
    }
  } catch (error) {
    if (kept !== null) return kept;
    throw error;
  }
  throw new DownloadError(`${url} has no bundle; publish one`);
}

/** Takes each file from the store when it is there, and else from the server, once. */
class ArrivingBundle implements BundleSource {
  bytesDownloaded = 0;
  filesDownloaded = 0;
  filesReused = 0;

  constructor(
    readonly name: string,
    private readonly data: Uint8Array,
    private readonly source: Newest,
    private readonly store: BundleStore | null,
  ) {}

  async manifest(): Promise<Uint8Array> {
    return Promise.resolve(this.data);
  }

  async file(artifact: Artifact): Promise<Uint8Array> {
    const kept = await this.store?.read(artifact);
    if (kept != null) {
      this.filesReused += 1;
      return kept;
    }
    const pieces = this.store?.piecesOf(artifact) ?? null;
    const { data, received } = await this.source.download(artifact, pieces);
    this.bytesDownloaded += received;
    this.filesDownloaded += 1;
    await this.store?.keep(artifact, data);
    await pieces?.forget();
    return data;
  }
}
