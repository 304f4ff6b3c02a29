/** The metadata of a published release, inside TUF's signed targets, as in edge_runtime/contract/release.py. */

import { UpdateError } from "./errors.js";

const SHA256 = /^[0-9a-f]{64}$/;

/** What is signed of a release, beside the digest of its manifest. */
export interface ReleaseNote {
  readonly bundleId: string;
  /** Counts a channel's releases from 1 and only grows. */
  readonly release: number;
  readonly publishedAt: string;
}

/**
 * Read the `custom` field of a channel's signed target; unknown fields are ignored.
 *
 * @throws UpdateError a field is missing or of the wrong type.
 */
export function releaseNote(custom: unknown, channel: string): ReleaseNote {
  const { bundle_id: bundleId, release, published_at: publishedAt } = (custom ?? {}) as Record<string, unknown>;
  const named = typeof bundleId === "string" && SHA256.test(bundleId) && typeof publishedAt === "string";
  if (named && Number.isSafeInteger(release) && (release as number) >= 1) {
    return { bundleId, release: release as number, publishedAt };
  }
  throw new UpdateError(`the release note of channel '${channel}' is malformed; publish again`);
}

/** Return the target path of the file with this SHA-256. */
export function fileTarget(sha256: string): string {
  return `files/${sha256}`;
}

/** Return the target path of the manifest of a channel's release, by default of its newest that is not staged. */
export function manifestTarget(channel: string, release: number | null = null): string {
  return `channels/${channel}/${release === null ? "" : `${String(release)}.`}manifest.json`;
}
