import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { HttpStatusError } from "../src/contract/errors.js";
import { nextDelayMs, Polling } from "../src/node_loop.js";

class FakePage {
  hidden = false;
  private readonly listeners: (() => void)[] = [];

  addEventListener(_: string, listener: () => void): void {
    this.listeners.push(listener);
  }

  show(): void {
    this.hidden = false;
    for (const listener of this.listeners) listener();
  }
}

const MINUTE = 60_000;
const middle = (): number => 0.5;

let page: FakePage;
beforeEach(() => {
  vi.useFakeTimers();
  page = new FakePage();
});
afterEach(() => vi.useRealTimers());

function polling(ask: () => Promise<void>): Polling {
  return new Polling(ask, { intervalMs: MINUTE, chance: middle, page: page as unknown as Document });
}

test("waits as the device does: an interval after a success, twice as long after each failure", () => {
  expect(nextDelayMs(MINUTE, 0, middle)).toBe(MINUTE);
  expect([1, 2, 3, 10].map((failures) => nextDelayMs(MINUTE, failures, () => 1))).toEqual([5_000, 10_000, 20_000, MINUTE]);
  expect(nextDelayMs(MINUTE, 1, () => 0)).toBe(2_500);
  expect(nextDelayMs(MINUTE, 1, () => 0, 300_000)).toBe(300_000);
});

test("asks again after the interval, and sooner after a failure", async () => {
  const ask = vi.fn<() => Promise<void>>().mockResolvedValue();
  await polling(ask).now();
  await vi.advanceTimersByTimeAsync(MINUTE);
  expect(ask).toHaveBeenCalledTimes(2);
  ask.mockRejectedValueOnce(new HttpStatusError("busy", 503, 30));
  await vi.advanceTimersByTimeAsync(MINUTE);
  expect(ask).toHaveBeenCalledTimes(3);
  await vi.advanceTimersByTimeAsync(30_000);
  expect(ask).toHaveBeenCalledTimes(3);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(ask).toHaveBeenCalledTimes(4);
});

test("a page that is not looked at asks nothing, and asks once when it is looked at again", async () => {
  const ask = vi.fn<() => Promise<void>>().mockResolvedValue();
  await polling(ask).now();
  page.hidden = true;
  await vi.advanceTimersByTimeAsync(10 * MINUTE);
  expect(ask).toHaveBeenCalledTimes(1);
  page.show();
  await vi.advanceTimersByTimeAsync(0);
  expect(ask).toHaveBeenCalledTimes(2);
  page.show();
  await vi.advanceTimersByTimeAsync(0);
  expect(ask).toHaveBeenCalledTimes(2);
});

test("two that ask at once share one answer", async () => {
  const ask = vi.fn<() => Promise<void>>().mockResolvedValue();
  const one = polling(ask);
  await Promise.all([one.now(), one.now()]);
  expect(ask).toHaveBeenCalledTimes(1);
});
