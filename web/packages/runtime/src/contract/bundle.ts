/** An opened bundle: its manifest and the verified bytes of its files, wherever they come from. */

import { BundleFormatError } from "./errors.js";
import { type Artifact, checkArtifact, decodeManifest, DEVICE_FILES, type Manifest, sha256Of } from "./manifest.js";

/** Where a bundle's files come from: a folder, a web server, a cache. Nothing that it gives is trusted. */
export interface BundleSource {
  /** For errors. */
  readonly name: string;
  /** Return the bytes of `manifest.json`. */
  manifest(): Promise<Uint8Array>;
  /** Return the bytes of a file that the manifest names. */
  file(artifact: Artifact): Promise<Uint8Array>;
}

/**
 * A bundle whose files fit its manifest. `bundleId` is the SHA-256 of the manifest and so names every byte of it.
 *
 * A file may be taken once: the two WASM runtimes copy what they load, and a second copy here would double the memory.
 */
export class Bundle {
  private readonly files: Map<string, Uint8Array>;

  constructor(
    readonly manifest: Manifest,
    readonly bundleId: string,
    files: ReadonlyMap<string, Uint8Array>,
  ) {
    this.files = new Map(files);
  }

  /**
   * Return the bytes of the artifact `name` and forget them.
   *
   * @throws BundleFormatError there is no such file, or it was taken before.
   */
  take(name: string): Uint8Array {
    const data = this.files.get(name);
    if (data === undefined) {
      throw new BundleFormatError(`the bundle has no file ${name}, or was loaded before; open the bundle again`);
    }
    this.files.delete(name);
    return data;
  }
}

/**
 * Read the files that a device needs and compare each with its length and SHA-256.
 *
 * @throws BundleError the manifest is malformed or too new, or a file is not the one that it names.
 * @throws DownloadError the source cannot be reached.
 */
export async function openBundle(source: BundleSource): Promise<Bundle> {
  const data = await source.manifest();
  const manifest = decodeManifest(data, `${source.name}/manifest.json`);
  const wanted = manifest.artifacts.filter((artifact) => DEVICE_FILES.includes(artifact.path));
  const reading = wanted.map(async (artifact): Promise<[string, Uint8Array]> => {
    const bytes = await source.file(artifact);
    await checkArtifact(artifact, bytes);
    return [artifact.path, bytes];
  });
  // When one fails, the others are awaited: what arrives of them need not be downloaded again.
  await Promise.allSettled(reading);
  return new Bundle(manifest, await sha256Of(data), new Map(await Promise.all(reading)));
}
