/**
 * The bundle that this browser keeps: files by their SHA-256 in the Cache API, and the manifest that was proved last.
 *
 * What edge_runtime/updates/slots.py is to a folder. The manifest is written last, after the new bundle has answered its golden
 * queries: a browser that is closed at any moment opens the old bundle or the new one, whole.
 */

import { type BundleSource } from "../contract/bundle.js";
import { BundleFormatError } from "../contract/errors.js";
import { type Artifact, checkArtifact, decodeManifest, MANIFEST_FILE } from "../contract/manifest.js";
import { type Pieces } from "./downloads.js";

const PREFIX = "pocketrec-bundle:";
const FILES = "/pocketrec-files/";
const PIECES = "pieces/";
const NOTE = ".note.json";

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
    return this.get(MANIFEST_FILE);
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
    const data = await this.get(artifact.sha256);
    if (data === null) return null;
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
    await this.put(artifact.sha256, data);
  }

  /** Return where the pieces of a file that is under way are kept; another bundle forgets them. */
  piecesOf(artifact: Artifact): Pieces {
    const key = (place: number): string => `${PIECES}${artifact.sha256}/${String(place)}`;
    const read = async (): Promise<Uint8Array[]> => {
      const found: Uint8Array[] = [];
      for (let data = await this.get(key(0)); data !== null; data = await this.get(key(found.length))) found.push(data);
      return found;
    };
    const forget = async (): Promise<void> => {
      for (let place = 0; await this.cache.delete(FILES + key(place)); place++);
    };
    return { read, keep: async (place, data) => this.put(key(place), data), forget };
  }

  /** Return what was noted under `name`; null when nothing was, or it cannot be read. */
  async noted(name: string): Promise<unknown> {
    const data = await this.get(name + NOTE);
    try {
      return data === null ? null : JSON.parse(new TextDecoder().decode(data));
    } catch {
      return null;
    }
  }

  /** Note a value of JSON under `name`. */
  async note(name: string, value: unknown): Promise<void> {
    await this.put(name + NOTE, new TextEncoder().encode(JSON.stringify(value)));
  }

  /** Make the bundle of this manifest the kept one, and forget the files that it does not name. */
  async install(manifest: Uint8Array): Promise<void> {
    await this.put(MANIFEST_FILE, manifest);
    await this.clean();
  }

  /** Forget every file and piece that the kept bundle does not name. */
  async clean(): Promise<void> {
    const manifest = await this.installed();
    const artifacts = manifest === null ? [] : decodeManifest(manifest, this.name).artifacts;
    const named = new Set([MANIFEST_FILE, ...artifacts.map((artifact) => artifact.sha256)]);
    for (const request of await this.cache.keys()) {
      const key = new URL(request.url).pathname.slice(FILES.length);
      if (!named.has(key) && !key.endsWith(NOTE)) await this.cache.delete(request);
    }
  }

  private async get(key: string): Promise<Uint8Array | null> {
    const found = await this.cache.match(FILES + key);
    return found === undefined ? null : new Uint8Array(await found.arrayBuffer());
  }

  private async put(key: string, data: Uint8Array): Promise<void> {
    const headers = { "Content-Type": "application/octet-stream" };
    await this.cache.put(FILES + key, new Response(data as Uint8Array<ArrayBuffer>, { headers }));
  }
}
