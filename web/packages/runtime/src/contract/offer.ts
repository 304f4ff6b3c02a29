/** The offer of a server to the devices of a channel, as in edge_runtime/contract/offer.py; it is signed by nobody. */

import { choose, inShare } from "./cohort.js";
import { DownloadError, reasonOf } from "./errors.js";

export const MAX_OFFER_BYTES = 40_000;
const MAX_NAME_CHARS = 200;

/** A release on its way to the whole channel. */
export interface RolloutOffer {
  readonly id: string;
  readonly seed: string;
  readonly release: number;
  readonly share: number;
  readonly accepting?: boolean;
}

/** Variants that devices are given by `seed`, to be compared. */
export interface ExperimentOffer {
  readonly id: string;
  readonly seed: string;
  readonly arms: readonly { readonly name: string; readonly release: number; readonly weight: number }[];
}

/** The answer to "anything new?": the signed timestamp, and which signed release is for whom. */
export interface Offer {
  readonly root_version: number;
  readonly timestamp: string;
  readonly release?: number | null;
  readonly rollout?: RolloutOffer | null;
  readonly experiment?: ExperimentOffer | null;
}

/** What one device makes of an offer: its release (null: the channel's newest), and why. */
export interface Assignment {
  readonly release: number | null;
  readonly reason: string | null;
  readonly variant: string | null;
}

/**
 * Read and check an offer.
 *
 * @throws DownloadError it is malformed.
 */
export function decodeOffer(data: Uint8Array): Offer {
  let offer: Offer;
  try {
    offer = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(data)) as Offer;
  } catch (error) {
    throw new DownloadError(`the server's offer is not JSON (${reasonOf(error)}); check the address, or try again`);
  }
  if (isOffer(offer)) return offer;
  throw new DownloadError("the server's offer is malformed; the bundle that answers stays");
}

function isOffer(offer: Offer | null): offer is Offer {
  if (typeof offer !== "object" || offer === null) return false;
  if (!isCount(offer.root_version) || typeof offer.timestamp !== "string" || !isCount(offer.release ?? 1)) return false;
  return isRollout(offer.rollout ?? null) && isExperiment(offer.experiment ?? null);
}

function isRollout(rollout: RolloutOffer | null): boolean {
  if (rollout === null) return true;
  return isNamed(rollout) && isCount(rollout.release) && isShare(rollout.share);
}

function isExperiment(experiment: ExperimentOffer | null): boolean {
  if (experiment === null) return true;
  const { arms } = experiment;
  if (!isNamed(experiment) || !Array.isArray(arms)) return false;
  return (arms as ExperimentOffer["arms"]).every((one) => isName(one?.name) && isCount(one?.release) && isShare(one?.weight));
}

/**
 * Return which release of the channel a device installs.
 *
 * @param deviceId decides its place in rollouts and experiments; null for a browser that is not enrolled, which takes part in
 *   neither, because nobody would hear how it fared.
 * @param installedRelease of the same channel, which a paused rollout lets the device keep.
 */
export function assign(offer: Offer, deviceId: string | null, installedRelease: number | null): Assignment {
  const { rollout, experiment } = offer;
  if (deviceId !== null && rollout != null && inShare(rollout.seed, deviceId, rollout.share)) {
    if (rollout.accepting !== false || installedRelease === rollout.release) {
      return { release: rollout.release, reason: rollout.id, variant: null };
    }
  } else if (deviceId !== null && experiment != null) {
    const place = choose(experiment.seed, deviceId, experiment.arms.map((one) => one.weight));
    const chosen = place === null ? undefined : experiment.arms[place];
    if (chosen !== undefined) return { release: chosen.release, reason: experiment.id, variant: chosen.name };
  }
  return { release: offer.release ?? null, reason: null, variant: null };
}

function isNamed(one: { readonly id: unknown; readonly seed: unknown }): boolean {
  return isName(one.id) && isName(one.seed);
}

function isName(value: unknown): boolean {
  return typeof value === "string" && value.length > 0 && value.length <= MAX_NAME_CHARS;
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 1;
}

function isShare(value: unknown): boolean {
  return typeof value === "number" && value >= 0 && value <= 1;
}
