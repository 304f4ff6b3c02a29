/** A bundle in a folder of a web server. */

import { type BundleSource } from "../contract/bundle.js";
import { type Artifact, MANIFEST_FILE, MAX_MANIFEST_BYTES } from "../contract/manifest.js";
import { download, downloadFile, type DownloadedFile, type Pieces } from "./downloads.js";

const RELEASE_HEADER = "Pocketrec-Release";

/** Files below `url`; nothing longer than was announced is read. */
export class HttpSource implements BundleSource {
  readonly name: string;

  /** Which release the server called its bundle when the manifest was read last; null from a plain folder. */
  release: number | null = null;

  /** Take the bundle whose `manifest.json` lies below `url`. */
  constructor(url: string) {
    this.name = url.replace(/\/+$/, "");
  }

  /** Return the bytes of the manifest; the browser asks by its entity tag, so that only another one is sent. */
  async manifest(): Promise<Uint8Array> {
    const { data, headers } = await download(`${this.name}/${MANIFEST_FILE}`, MAX_MANIFEST_BYTES, "no-cache");
    this.release = Number(headers.get(RELEASE_HEADER)) || null;
    return data;
  }

  /** Return the bytes of a file, checked. */
  async file(artifact: Artifact): Promise<Uint8Array> {
    return (await this.download(artifact, null)).data;
  }

  /** Download a file; `pieces` continues one that broke off (downloads.ts). */
  async download(artifact: Artifact, pieces: Pieces | null): Promise<DownloadedFile> {
    // A plain folder ignores the digest; a sync server gives the file of just this release, even while another comes out.
    return downloadFile(`${this.name}/${artifact.path}?sha256=${artifact.sha256}`, artifact, pieces);
  }
}
