/**
 * The error tree, as in edge_runtime/contract/errors.py: branches say what the caller can do, leaves what went wrong.
 *
 * A message is one sentence for the person at the keyboard: what was expected, what came, what to do.
 */
/** Root of every error of ours. */
export declare class PocketrecError extends Error {
    name: string;
}
/** A setting or argument is not what was expected: change it. */
export declare class ConfigError extends PocketrecError {
    name: string;
}
/** A bundle cannot be used: get another one, keep the old one. */
export declare class BundleError extends PocketrecError {
    name: string;
}
/** A file or a field of the bundle is missing or malformed. */
export declare class BundleFormatError extends BundleError {
    name: string;
}
/** The bundle's major format version is newer than this runtime. */
export declare class BundleVersionError extends BundleError {
    name: string;
}
/** A file's length or SHA-256 differs from the manifest. */
export declare class DigestMismatchError extends BundleError {
    name: string;
}
/** The golden queries do not give the expected answers on this device. */
export declare class GoldenMismatchError extends BundleError {
    name: string;
}
/** The server could not be reached or did not answer as agreed: try again later. */
export declare class DownloadError extends PocketrecError {
    name: string;
}
/** The server answered with an error status. */
export declare class HttpStatusError extends DownloadError {
    readonly statusCode: number;
    name: string;
    constructor(message: string, statusCode: number);
}
/** The model could not be run. */
export declare class InferenceError extends PocketrecError {
    name: string;
}
/** The interpreter cannot be loaded, or it refuses the model. */
export declare class ModelLoadError extends InferenceError {
    name: string;
}
/** An input's shape or type is not what the signature takes. */
export declare class InputShapeError extends InferenceError {
    name: string;
}
/** Return what a caught value says, on one line. */
export declare function reasonOf(error: unknown): string;
