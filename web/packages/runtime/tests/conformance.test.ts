import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import { expect, test } from "vitest";

import { runAttacks, runConformance } from "../conformance/runner.js";
import { FolderSource } from "../src/updates/folder_source.js";

const DATA = fileURLToPath(new URL("../../../../tests/data/", import.meta.url));

async function json<T>(path: string): Promise<T> {
  return JSON.parse(await readFile(DATA + path, "utf8")) as T;
}

test("answers what the Python reference answers", async () => {
  const outcome = await runConformance((name) => json(`conformance/${name}`), new FolderSource(`${DATA}golden_bundle`));
  expect(outcome.failures).toEqual([]);
  expect(outcome.checks).toBeGreaterThan(1_000);
}, 60_000);

test("refuses every attack on the manifest by the error that the suite names", async () => {
  const expected = await json<Record<string, string>>("attacks/expected.json");
  const outcome = await runAttacks(expected, async (name) => new Uint8Array(await readFile(`${DATA}attacks/${name}`)));
  expect(outcome.failures).toEqual([]);
  expect(outcome.checks).toBe(Object.keys(expected).length);
});
