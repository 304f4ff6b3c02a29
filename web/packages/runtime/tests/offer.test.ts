import { expect, test } from "vitest";

import { DownloadError } from "../src/contract/errors.js";
import { assign, decodeOffer, type Offer } from "../src/contract/offer.js";

const PLAIN: Offer = { root_version: 1, timestamp: "{}", release: 4 };
const ROLLOUT = { id: "rollout-1", seed: "seed", release: 5, share: 1 };

test("a rollout reaches those in its share, and nobody whom the server does not know", () => {
  const offer = { ...PLAIN, rollout: ROLLOUT };
  expect(assign(offer, "device-1", null)).toEqual({ release: 5, reason: "rollout-1", variant: null });
  expect(assign(offer, null, null)).toEqual({ release: 4, reason: null, variant: null });
  expect(assign({ ...PLAIN, rollout: { ...ROLLOUT, share: 0 } }, "device-1", null).release).toBe(4);
});

test("a paused rollout is kept by those who have it, and reaches no other", () => {
  const offer = { ...PLAIN, rollout: { ...ROLLOUT, accepting: false } };
  expect(assign(offer, "device-1", 5).release).toBe(5);
  expect(assign(offer, "device-1", 4).release).toBe(4);
});

test("an experiment gives every device one of its variants", () => {
  const arms = [{ name: "a", release: 2, weight: 0 }, { name: "b", release: 3, weight: 1 }];
  const offer = { ...PLAIN, experiment: { id: "experiment-1", seed: "seed", arms } };
  expect(assign(offer, "device-1", null)).toEqual({ release: 3, reason: "experiment-1", variant: "b" });
});

test.each([
  null,
  { ...PLAIN, root_version: 0 },
  { ...PLAIN, timestamp: 1 },
  { ...PLAIN, rollout: { ...ROLLOUT, share: 2 } },
  { ...PLAIN, rollout: { ...ROLLOUT, id: "x".repeat(201) } },
  { ...PLAIN, experiment: { id: "e", seed: "s", arms: [null] } },
])("a malformed offer is refused", (offer) => {
  expect(() => decodeOffer(new TextEncoder().encode(JSON.stringify(offer)))).toThrow(DownloadError);
});
