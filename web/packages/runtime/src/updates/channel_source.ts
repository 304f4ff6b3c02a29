/** The channel of a sync server: what it offers is verified before a byte of it is opened. */

import { DownloadError, RollbackError, SignatureError, UpdateError } from "../contract/errors.js";
import { type Artifact, MANIFEST_FILE, MAX_MANIFEST_BYTES } from "../contract/manifest.js";
import { assign, decodeOffer, MAX_OFFER_BYTES, type Offer } from "../contract/offer.js";
import { fileTarget, manifestTarget, releaseNote } from "../contract/release.js";
import { download, downloadFile, type DownloadedFile, type Pieces } from "./downloads.js";
import { type Target } from "./trusted_metadata.js";
import { checkClock, MetadataStore, TrustedTargets } from "./tuf_client.js";

const CHANNEL = /^(.*)\/v1\/channels\/([a-z0-9][a-z0-9-]{0,39})$/;

/** Which release a bundle is, and why this browser has it. */
export interface InstalledRelease {
  readonly bundleId: string;
  readonly release: number;
  /** The rollout or experiment. */
  readonly reason: string | null;
  readonly variant: string | null;
}

/** What a server has now. */
export interface Newest {
  readonly bundleId: string;
  /** Null from a plain folder. */
  readonly release: InstalledRelease | null;
  /** Return the bytes of the manifest. */
  manifest(): Promise<Uint8Array>;
  /** Download a file of the bundle, checked; `pieces` continues one that broke off. */
  download(artifact: Artifact, pieces: Pieces | null): Promise<DownloadedFile>;
}

/** Whom a channel's browser is, and whom it trusts. */
export interface ChannelOptions {
  /** Bytes of the root.json that came with the app; without it the server's root of the first visit is trusted and kept. */
  readonly trustedRoot?: Uint8Array;
  /** Gives the name under which the server knows this browser, which decides its place in rollouts and experiments. */
  readonly deviceId?: () => string | null;
  /** Gives the time; the clock of this device by default. */
  readonly clock?: () => Date;
}

/** Follows one channel. */
export class ChannelSource {
  private constructor(
    readonly name: string,
    private readonly server: string,
    private readonly channel: string,
    private readonly store: MetadataStore,
    private readonly options: ChannelOptions,
  ) {}

  /** Follow the channel at `url`; null when this is not the address of a channel (`…/v1/channels/NAME`). */
  static async of(url: string, options: ChannelOptions): Promise<ChannelSource | null> {
    const name = url.replace(/\/+$/, "");
    const [, server, channel] = CHANNEL.exec(name) ?? [];
    if (server === undefined || channel === undefined) return null;
    return new ChannelSource(name, server, channel, await MetadataStore.open(server), options);
  }

  /**
   * Return the release that this browser is to have; the browser asks for the offer by its entity tag.
   *
   * @throws SignatureError, RollbackError, ExpiredReleaseError it is not to be trusted.
   * @throws DownloadError the network, or nothing was published in the channel.
   * @throws UpdateError the release is not there.
   */
  async newest(installed: InstalledRelease | null): Promise<Newest> {
    const { data } = await download(`${this.name}/offer`, MAX_OFFER_BYTES, "no-cache");
    const offer = decodeOffer(data);
    const assigned = assign(offer, this.options.deviceId?.() ?? null, installed?.release ?? null);
    const now = this.options.clock?.() ?? new Date();
    const trusted = await this.refreshed(offer, now);
    const target = await trusted.find(manifestTarget(this.channel, assigned.release), this.channel);
    if (target === null) {
      throw new UpdateError(`the server has not signed the release that it offers in channel '${this.channel}'`);
    }
    const note = releaseNote(target.custom, this.channel);
    if (note.bundleId !== target.sha256) {
      throw new SignatureError(`the release in channel '${this.channel}' names a bundle that is not its manifest`);
    }
    checkClock(note.publishedAt, now);
    await this.checkNotOlder(trusted, note.release, installed, assigned.release !== null);
    const release = { bundleId: note.bundleId, release: note.release, reason: assigned.reason, variant: assigned.variant };
    return new SignedRelease(release, target, trusted, this.channel);
  }

  /** One tab at a time, so that an older timestamp never replaces a newer one in the store. */
  private async refreshed(offer: Offer, now: Date): Promise<TrustedTargets> {
    const trust = { store: this.store, trustedRoot: this.options.trustedRoot ?? null, now };
    const refresh = async (): Promise<TrustedTargets> => TrustedTargets.refresh(this.server, offer, trust);
    const locks = (globalThis.navigator as Partial<Navigator> | undefined)?.locks;
    return locks === undefined ? refresh() : locks.request(`pocketrec-trust:${this.server}`, refresh);
  }

  /** Go back only where the server asks for it and both releases are still signed, which is the publisher's choice. */
  private async checkNotOlder(
    trusted: TrustedTargets,
    release: number,
    installed: InstalledRelease | null,
    isAsked: boolean,
  ): Promise<void> {
    if (installed === null || release >= installed.release) return;
    const stillSigned = await trusted.find(manifestTarget(this.channel, installed.release), this.channel);
    if (isAsked && stillSigned !== null) return;
    throw new RollbackError(
      `channel '${this.channel}' offers release ${String(release)}, this browser has ${String(installed.release)}; ` +
        "to go back, publish the older bundle as a new release",
    );
  }
}

class SignedRelease implements Newest {
  readonly bundleId: string;

  constructor(
    readonly release: InstalledRelease,
    private readonly target: Target,
    private readonly trusted: TrustedTargets,
    private readonly channel: string,
  ) {
    this.bundleId = release.bundleId;
  }

  async manifest(): Promise<Uint8Array> {
    const { sha256, lengthBytes } = this.target;
    if (lengthBytes > MAX_MANIFEST_BYTES) {
      throw new DownloadError(`the manifest has ${String(lengthBytes)} bytes, ${String(MAX_MANIFEST_BYTES)} are allowed`);
    }
    return (await this.file({ path: MANIFEST_FILE, lengthBytes, sha256 }, this.target, null)).data;
  }

  async download(artifact: Artifact, pieces: Pieces | null): Promise<DownloadedFile> {
    const target = await this.trusted.find(fileTarget(artifact.sha256), this.channel);
    if (target === null || target.lengthBytes !== artifact.lengthBytes) {
      throw new SignatureError(`${artifact.path} of the release is not among the signed files; publish again`);
    }
    return this.file(artifact, target, pieces);
  }

  private async file(artifact: Artifact, target: Target, pieces: Pieces | null): Promise<DownloadedFile> {
    return downloadFile(this.trusted.urlOf(target), artifact, pieces);
  }
}
