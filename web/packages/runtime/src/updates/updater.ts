/** Getting a bundle from a server, keeping it, and replacing it when a newer one has proved itself. */

import { type Bundle, type BundleSource, openBundle } from "../contract/bundle.js";
import { BundleError, DownloadError, InferenceError, reasonOf } from "../contract/errors.js";
import { type Artifact, sha256Of } from "../contract/manifest.js";
import { readyLiteRt, readySqlite } from "../environment.js";
import { Recommender } from "../recommender.js";
import { BundleStore } from "./bundle_store.js";
import { HttpSource } from "./http_source.js";
import { type Proof } from "./self_test.js";

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

/** Follows the bundle at one address. */
export class Updater {
  private refused: Readonly<Record<string, string>> | null = null;

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
   * Get what the server has now; null when it is the bundle `bundleId`.
   *
   * A bundle that does not prove itself is not kept. It is remembered, and no byte of it is downloaded again.
   *
   * @throws DownloadError no network, or another answer than agreed; call again to continue where it broke off.
   * @throws BundleError the new bundle is malformed, or does not give its golden answers here, now or before.
   * @throws InferenceError it cannot be run here.
   */
  async update(bundleId: string | null = null): Promise<Installed | null> {
    const manifest = await this.source.manifest();
    const arrivingId = await sha256Of(manifest);
    if (arrivingId === bundleId) return null;
    await this.checkNotRefused(arrivingId);
    const arriving = new ArrivingBundle(manifest, this.source, this.store);
    const bundle = await openBundle(arriving);
    // Where these cannot be loaded, the bundle is not to blame.
    await Promise.all([readyLiteRt(), readySqlite()]);
    const { recommender, proof } = await this.proved(bundle);
    try {
      await this.store?.install(manifest);
    } catch (error) {
      recommender.close();
      throw error;
    }
    const { bytesDownloaded, filesDownloaded, filesReused } = arriving;
    return { recommender, proof, bytesDownloaded, filesDownloaded, filesReused };
  }

  private async proved(bundle: Bundle): Promise<{ recommender: Recommender; proof: Proof }> {
    let recommender: Recommender | null = null;
    try {
      recommender = await Recommender.load(bundle);
      return { recommender, proof: await recommender.prove() };
    } catch (error) {
      recommender?.close();
      if (error instanceof BundleError || error instanceof InferenceError) {
        await this.refuse(bundle.bundleId, reasonOf(error));
      }
      throw error;
    }
  }

  private async refuse(bundleId: string, reason: string): Promise<void> {
    const recent = Object.entries(await this.refusals()).slice(1 - REMEMBERED_REFUSALS);
    this.refused = { ...Object.fromEntries(recent), [bundleId]: reason };
    await this.store?.note(REFUSED, this.refused);
    await this.store?.clean();
  }

  private async refusals(): Promise<Readonly<Record<string, string>>> {
    this.refused ??= ((await this.store?.noted(REFUSED)) ?? {}) as Record<string, string>;
    return this.refused;
  }

  private async checkNotRefused(bundleId: string): Promise<void> {
    const reason = (await this.refusals())[bundleId];
    if (reason === undefined) return;
    throw new BundleError(
      `bundle ${bundleId.slice(0, 12)} did not work in this browser before and is not tried again (${reason}); ` +
        "publish a better one, or clear this site's data to try it once more",
    );
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
    const pieces = this.store?.piecesOf(artifact) ?? null;
    const { data, received } = await this.source.download(artifact, pieces);
    this.bytesDownloaded += received;
    this.filesDownloaded += 1;
    await this.store?.keep(artifact, data);
    await pieces?.forget();
    return data;
  }
}
