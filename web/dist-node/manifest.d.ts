/** `manifest.json`: reading and checking it, as in edge_runtime/contract/bundle.py (docs/bundle-format.md). */
export declare const FORMAT_NAME = "pocketrec-bundle";
export declare const FORMAT_MAJOR = 1;
export declare const MANIFEST_FILE = "manifest.json";
export declare const MAX_MANIFEST_BYTES = 1000000;
export declare const ENCODER_FILE = "encoder.tflite";
export declare const CATALOGUE_LAYER_FILE = "catalogue.tflite";
export declare const CATALOGUE_ROWS_FILE = "catalogue.sqlite";
export declare const ITEM_VECTORS_FILE = "item_vectors.npy";
export declare const TOKENIZER_FILE = "tokenizer.json";
export declare const GOLDEN_FILE = "golden.json";
/** The files that a device opens; a report or a model card is not downloaded. */
export declare const DEVICE_FILES: readonly string[];
/** One file of the bundle: plain name without folders, length, SHA-256 in lower-case hex. */
export interface Artifact {
    readonly path: string;
    readonly lengthBytes: number;
    readonly sha256: string;
}
/** What `manifest.json` says; unknown fields are ignored, so that a minor version may add some. */
export interface Manifest {
    readonly formatVersion: string;
    readonly name: string;
    readonly createdAt: string;
    readonly space: {
        readonly id: string;
        readonly dim: number;
    };
    readonly encoder: {
        readonly queryTokens: number;
        readonly itemTokens: number;
        readonly historyItems: number;
    };
    readonly catalogue: {
        readonly products: number;
        readonly candidates: number;
    };
    readonly fusion: {
        readonly denseWeight: number;
        readonly fieldWeights: Readonly<Record<string, number>>;
        readonly coverageWeights: Readonly<Record<string, number>>;
    };
    readonly artifacts: readonly Artifact[];
}
/**
 * Read and check the bytes of a manifest that nobody has vouched for; `source` names them in errors.
 *
 * @throws BundleFormatError not JSON, a field is missing or of the wrong type, or a path that is not a plain file name.
 * @throws BundleVersionError a newer major version.
 */
export declare function decodeManifest(data: Uint8Array, source: string): Manifest;
/** Return the SHA-256 of `data` in lower-case hex. */
export declare function sha256Of(data: Uint8Array): Promise<string>;
/**
 * Compare one file's bytes with what the manifest says of them.
 *
 * @throws DigestMismatchError its length or its SHA-256 differs.
 */
export declare function checkArtifact(artifact: Artifact, data: Uint8Array): Promise<void>;
