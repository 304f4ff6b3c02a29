/**
 * The error tree, as in edge_runtime/contract/errors.py: branches say what the caller can do, leaves what went wrong.
 *
 * A message is one sentence for the person at the keyboard: what was expected, what came, what to do.
 */

/** Root of every error of ours. */
export class PocketrecError extends Error {
  override name = "PocketrecError";
}

/** A setting or argument is not what was expected: change it. */
export class ConfigError extends PocketrecError {
  override name = "ConfigError";
}

/** A bundle cannot be used: get another one, keep the old one. */
export class BundleError extends PocketrecError {
  override name = "BundleError";
}

/** A file or a field of the bundle is missing or malformed. */
export class BundleFormatError extends BundleError {
  override name = "BundleFormatError";
}

/** The bundle's major format version is newer than this runtime. */
export class BundleVersionError extends BundleError {
  override name = "BundleVersionError";
}

/** A file's length or SHA-256 differs from the manifest. */
export class DigestMismatchError extends BundleError {
  override name = "DigestMismatchError";
}

/** The golden queries do not give the expected answers on this device. */
export class GoldenMismatchError extends BundleError {
  override name = "GoldenMismatchError";
}

/** A bundle cannot be replaced by a newer one: the one that answers stays. */
export class UpdateError extends PocketrecError {
  override name = "UpdateError";
}

/** What the server offers is not signed by the keys that this browser trusts. */
export class SignatureError extends UpdateError {
  override name = "SignatureError";
}

/** The server offers something older than was seen before. */
export class RollbackError extends UpdateError {
  override name = "RollbackError";
}

/** The signatures are out of date, or the clock is wrong. */
export class ExpiredReleaseError extends UpdateError {
  override name = "ExpiredReleaseError";
}

/** The server could not be reached or did not answer as agreed: try again later. */
export class DownloadError extends UpdateError {
  override name = "DownloadError";
}

/** The server answered with an error status. */
export class HttpStatusError extends DownloadError {
  override name = "HttpStatusError";

  constructor(
    message: string,
    readonly statusCode: number,
    /** How many seconds the server asks to wait; 0 when it says nothing. */
    readonly retryAfterS = 0,
  ) {
    super(message);
  }
}

/** The model could not be run. */
export class InferenceError extends PocketrecError {
  override name = "InferenceError";
}

/** The interpreter cannot be loaded, or it refuses the model. */
export class ModelLoadError extends InferenceError {
  override name = "ModelLoadError";
}

/** An input's shape or type is not what the signature takes. */
export class InputShapeError extends InferenceError {
  override name = "InputShapeError";
}

/** Return what a caught value says, on one line. */
export function reasonOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split("\n", 1)[0] ?? "";
}
