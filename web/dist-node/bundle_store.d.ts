/**
 * The bundle that this browser keeps: files by their SHA-256 in the Cache API, and the manifest that was proved last.
 *
 * What edge_runtime/slots.py is to a folder. The manifest is written last, after the new bundle has answered its golden
 * queries: a browser that is closed at any moment opens the old bundle or the new one, whole.
 */
import { type BundleSource } from "./bundle.js";
import { type Artifact } from "./manifest.js";
/** The kept bundle of one address. */
export declare class BundleStore implements BundleSource {
    private readonly cache;
    readonly name: string;
    private constructor();
    /** Open the store of `address`, or return null where the browser has none (no secure context, storage switched off). */
    static open(address: string): Promise<BundleStore | null>;
    /** Return the manifest that was proved last, or null. */
    installed(): Promise<Uint8Array | null>;
    manifest(): Promise<Uint8Array>;
    file(artifact: Artifact): Promise<Uint8Array>;
    /** Return a kept file, or null; one that was damaged is forgotten. */
    read(artifact: Artifact): Promise<Uint8Array | null>;
    /** Keep a file whose digest was checked. */
    keep(artifact: Artifact, data: Uint8Array): Promise<void>;
    /** Make the bundle of this manifest the kept one, and forget the files that it does not name. */
    install(manifest: Uint8Array): Promise<void>;
}
