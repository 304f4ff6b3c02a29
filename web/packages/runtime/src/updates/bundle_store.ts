/**
 * The bundle that this browser keeps: files by their SHA-256 in the Cache API, and the manifest that was proved last.
 *
 * What edge_runtime/updates/slots.py is to a folder. The manifest is written last, after the new bundle has answered its golden
 * queries: a browser that is closed at any moment opens the old bundle or the new one, whole.
 */

import { type BundleSource } from "../contract/bundle.js";
import { BundleFormatError } from "../contract/errors.js";
import { type Artifact, checkArtifact, decodeManifest, MANIFEST_FILE } from "../contract/manifest.js";

const PREFIX = "pocketrec-bundle:";
const FILES = "/pocketrec-files/";

/** The kept bundle of one address. */
export class BundleStore implements BundleSource {
  readonly name: string;

  private constructor(
    private readonly cache: Cache,
    address: string,
  ) {
    this.name = `the bundle kept of ${address}`;
  }

  /** Open the store of `address`, or return null where the browser has none (no secure context, storage switched off). */
  static async open(address: string): Promise<BundleStore | null> {
    if (!("caches" in globalThis)) return null;
    try {
      return new BundleStore(await caches.open(PREFIX + address), address);
    } catch {
      return null;
    }
  }

  /** Return the manifest that was proved last, or null. */
  async installed(): Promise<Uint8Array | null> {
    const found = await this.cache.match(FILES + MANIFEST_FILE);
    return found === undefined ? null : new Uint8Array(await found.arrayBuffer());
  }

  async manifest(): Promise<Uint8Array> {
    const data = await this.installed();
    if (data === null) throw new BundleFormatError(`${this.name} is empty; open the page once with a network`);
    return data;
  }

  async file(artifact: Artifact): Promise<Uint8Array> {
    const data = await this.read(artifact);
    if (data === null) throw new BundleFormatError(`${this.name} lacks ${artifact.path}; open the page with a network`);
    return data;
  }

  /** Return a kept file, or null; one that was damaged is forgotten. */
  async read(artifact: Artifact): Promise<Uint8Array | null> {
    const found = await this.cache.match(FILES + artifact.sha256);
    if (found === undefined) return null;
    const data = new Uint8Array(await found.arrayBuffer());
    try {
      await checkArtifact(artifact, data);
      return data;
    } catch {
      await this.cache.delete(FILES + artifact.sha256);
      return null;
    }
  }

  /** Keep a file whose digest was checked. */
  async keep(artifact: Artifact, data: Uint8Array): Promise<void> {
    await this.cache.put(FILES + artifact.sha256, answerOf(data));
  }

  /** Make the bundle of this manifest the kept one, and forget the files that it does not name. */
  async install(manifest: Uint8Array): Promise<void> {
    await this.cache.put(FILES + MANIFEST_FILE, answerOf(manifest));
    const named = new Set(decodeManifest(manifest, this.name).artifacts.map((artifact) => artifact.sha256));
    for (const request of await this.cache.keys()) {
      const key = new URL(request.url).pathname.slice(FILES.length);
      if (key !== MANIFEST_FILE && !named.has(key)) await this.cache.delete(request);
    }
  }
}

function answerOf(data: Uint8Array): Response {
  return new Response(data as Uint8Array<ArrayBuffer>, { headers: { "Content-Type": "application/octet-stream" } });
}
