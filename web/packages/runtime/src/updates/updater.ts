/** Getting a bundle from a server, keeping it, and replacing it when a newer one has proved itself. */

import { type BundleSource, openBundle } from "../contract/bundle.js";
import { DownloadError } from "../contract/errors.js";
import { type Artifact, sha256Of } from "../contract/manifest.js";
import { Recommender } from "../recommender.js";
import { BundleStore } from "./bundle_store.js";
import { HttpSource } from "./http_source.js";
import { type Proof } from "./self_test.js";

/** What an installation did. */
export interface Installed {
  readonly recommender: Recommender;
  readonly proof: Proof;
  readonly bytesDownloaded: number;
  readonly filesDownloaded: number;
  readonly filesReused: number;
}

/** Follows the bundle at one address. */
export class Updater {
  private constructor(
    private readonly source: HttpSource,
    private readonly store: BundleStore | null,
  ) {}

  /** Follow the bundle whose `manifest.json` lies below `url`. */
  static async of(url: string): Promise<Updater> {
    const address = new URL(url, globalThis.location?.href).href;
    return new Updater(new HttpSource(address), await BundleStore.open(address));
  }

  /** Which release of the channel the server had when it was asked last; null when it was not, or is a plain folder. */
  get release(): number | null {
    return this.source.release;
  }

  /** Open the kept bundle, or return null when none is kept, or what is kept is damaged. */
  async openKept(): Promise<Recommender | null> {
    if (this.store === null || (await this.store.installed()) === null) return null;
    try {
      return await Recommender.load(await openBundle(this.store));
    } catch {
      return null;
    }
  }

  /**
   * Get what the server has now; null when it is the bundle `bundleId`. A bundle that does not prove itself is not kept.
   *
   * @throws DownloadError no network, or another answer than agreed.
   * @throws BundleError the new bundle is malformed, or does not give its golden answers here.
   */
  async update(bundleId: string | null = null): Promise<Installed | null> {
    const manifest = await this.source.manifest();
    if (bundleId !== null && (await sha256Of(manifest)) === bundleId) return null;
    const arriving = new ArrivingBundle(manifest, this.source, this.store);
    const recommender = await Recommender.load(await openBundle(arriving));
    try {
      const proof = await recommender.prove();
      await this.store?.install(manifest);
      const { bytesDownloaded, filesDownloaded, filesReused } = arriving;
      return { recommender, proof, bytesDownloaded, filesDownloaded, filesReused };
    } catch (error) {
      recommender.close();
      throw error;
    }
  }
}

/** Open the newest bundle of `url`; without a network, the one that was kept. */
export async function openNewest(url: string): Promise<Recommender> {
  const updater = await Updater.of(url);
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
  readonly name: string;
  bytesDownloaded = 0;
  filesDownloaded = 0;
  filesReused = 0;

  constructor(
    private readonly data: Uint8Array,
    private readonly source: HttpSource,
    private readonly store: BundleStore | null,
  ) {
    this.name = source.name;
  }

  async manifest(): Promise<Uint8Array> {
    return Promise.resolve(this.data);
  }

  async file(artifact: Artifact): Promise<Uint8Array> {
    const kept = await this.store?.read(artifact);
    if (kept != null) {
      this.filesReused += 1;
      return kept;
    }
    const data = await this.source.file(artifact);
    this.bytesDownloaded += data.length;
    this.filesDownloaded += 1;
    if ((await sha256Of(data)) === artifact.sha256) await this.store?.keep(artifact, data);
    return data;
  }
}
