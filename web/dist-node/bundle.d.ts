/** An opened bundle: its manifest and the verified bytes of its files, wherever they come from. */
import { type Artifact, type Manifest } from "./manifest.js";
/** Where a bundle's files come from: a folder, a web server, a cache. Nothing that it gives is trusted. */
export interface BundleSource {
    /** For errors. */
    readonly name: string;
    /** Return the bytes of `manifest.json`. */
    manifest(): Promise<Uint8Array>;
    /** Return the bytes of a file that the manifest names. */
    file(artifact: Artifact): Promise<Uint8Array>;
}
/** A bundle whose files fit its manifest. `bundleId` is the SHA-256 of the manifest and so names every byte of it. */
export declare class Bundle {
    readonly manifest: Manifest;
    readonly bundleId: string;
    private readonly files;
    constructor(manifest: Manifest, bundleId: string, files: ReadonlyMap<string, Uint8Array>);
    /** Return the bytes of the artifact `name`. */
    file(name: string): Uint8Array;
}
/**
 * Read the files that a device needs and compare each with its length and SHA-256.
 *
 * @throws BundleError the manifest is malformed or too new, or a file is not the one that it names.
 * @throws DownloadError the source cannot be reached.
 */
export declare function openBundle(source: BundleSource): Promise<Bundle>;
