/** A bundle in a folder of a web server. */

import { type BundleSource } from "../contract/bundle.js";
import { type Artifact, MANIFEST_FILE, MAX_MANIFEST_BYTES, sha256Of } from "../contract/manifest.js";
import { type Newest } from "./channel_source.js";
import { download, downloadFile, type DownloadedFile, type Pieces } from "./downloads.js";

/** Files below `url`; nothing longer than was announced is read. They are trusted as the origin that serves them. */
export class HttpSource implements BundleSource {
  readonly name: string;

  /** Take the bundle whose `manifest.json` lies below `url`. */
  constructor(url: string) {
    this.name = url.replace(/\/+$/, "");
  }

  /** Return the bytes of the manifest; the browser asks by its entity tag, so that only another one is sent. */
  async manifest(): Promise<Uint8Array> {
    return (await download(`${this.name}/${MANIFEST_FILE}`, MAX_MANIFEST_BYTES, "no-cache")).data;
  }

  /** Return the bytes of a file, checked. */
  async file(artifact: Artifact): Promise<Uint8Array> {
    return (await this.download(artifact, null)).data;
  }

  /** Return what the folder has now. */
  async newest(): Promise<Newest> {
    const data = await this.manifest();
    return {
      bundleId: await sha256Of(data),
      release: null,
      manifest: async () => Promise.resolve(data),
      download: async (artifact, pieces) => this.download(artifact, pieces),
    };
  }

  /** Download a file; `pieces` continues one that broke off (downloads.ts). */
  async download(artifact: Artifact, pieces: Pieces | null): Promise<DownloadedFile> {
    // A plain folder ignores the digest, which keeps caches on the way from giving the file of another bundle.
    return downloadFile(`${this.name}/${artifact.path}?sha256=${artifact.sha256}`, artifact, pieces);
  }
}
