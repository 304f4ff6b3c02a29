import { readdir, readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { openBundle } from "../src/contract/bundle.js";
import { BundleError, BundleFormatError, GoldenMismatchError } from "../src/contract/errors.js";
import { sha256Of } from "../src/contract/manifest.js";
import { Model } from "../src/inference/interpreter.js";
import { RowsDatabase } from "../src/products/rows_database.js";
import { Recommender } from "../src/recommender.js";
import { FolderSource } from "../src/updates/folder_source.js";
import { Updater } from "../src/updates/updater.js";
import { FakeCaches } from "./support/fake_caches.js";
import { FileServer } from "./support/file_server.js";

const FOLDER = fileURLToPath(new URL("../../../../tests/data/golden_bundle/", import.meta.url));
const SHOP = "https://shop.example/bundle";

interface Editable {
  name: string;
  catalogue: { candidates: number };
  artifacts: { path: string; length_bytes: number; sha256: string }[];
}

let server: FileServer;
let kept: FakeCaches;

beforeEach(async () => {
  kept = new FakeCaches();
  vi.stubGlobal("caches", kept);
  server = new FileServer().install();
  for (const name of await readdir(FOLDER)) server.files.set(`/bundle/${name}`, await readFile(FOLDER + name));
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

function text(path: string): string {
  return new TextDecoder().decode(server.files.get(path));
}

/** Serve another manifest, and another file where one is given. */
async function serve(change: (manifest: Editable) => void, name?: string, data?: Uint8Array): Promise<void> {
  const manifest = JSON.parse(text("/bundle/manifest.json")) as Editable;
  change(manifest);
  const artifact = manifest.artifacts.find(({ path }) => path === name);
  if (artifact !== undefined && data !== undefined) {
    Object.assign(artifact, { length_bytes: data.length, sha256: await sha256Of(data) });
    server.files.set(`/bundle/${artifact.path}`, data);
  }
  server.files.set("/bundle/manifest.json", new TextEncoder().encode(JSON.stringify(manifest)));
}

async function serveWrongGolden(): Promise<void> {
  const golden = JSON.parse(text("/bundle/golden.json")) as { queries: { vector: number[] }[] };
  for (const query of golden.queries) query.vector = query.vector.map((value) => -value);
  await serve((manifest) => (manifest.name = "wrong"), "golden.json", new TextEncoder().encode(JSON.stringify(golden)));
}

test("a bundle that was refused is not downloaded, loaded and proved again, not even by the next visit", async () => {
  await serveWrongGolden();
  const updater = await Updater.of(SHOP);
  await expect(updater.update()).rejects.toThrow(GoldenMismatchError);
  const loaded = vi.spyOn(Recommender, "load");
  const downloaded = server.asked.length;
  await expect(updater.update()).rejects.toThrow(/did not work in this browser before/);
  await expect((await Updater.of(SHOP)).update()).rejects.toThrow(BundleError);
  expect(loaded).not.toHaveBeenCalled();
  expect(server.asked.slice(downloaded).map(({ path }) => path)).toEqual(Array(2).fill("/bundle/manifest.json"));
  expect(kept.keys()).toEqual(["/pocketrec-files/refused.note.json"]);
});

test("a better bundle replaces the one before, although another was refused in between", async () => {
  const good = server.files.get("/bundle/golden.json") as Uint8Array;
  const updater = await Updater.of(SHOP);
  const first = await updater.update();
  await serveWrongGolden();
  await expect(updater.update(first?.recommender.bundle.bundleId)).rejects.toThrow(GoldenMismatchError);
  await serve((manifest) => (manifest.name = "better"), "golden.json", good);
  const better = await updater.update(first?.recommender.bundle.bundleId);
  expect(better?.recommender.bundle.manifest.name).toBe("better");
  expect(better?.filesDownloaded).toBe(0);
  for (const one of [first, better]) one?.recommender.close();
});

test("a download that failed is no refusal: the next call goes on", async () => {
  server.faults.set("/bundle/encoder.tflite", { after: 100, how: "breaks" });
  const updater = await Updater.of(SHOP);
  await expect(updater.update()).rejects.toThrow(/cannot read .*encoder\.tflite/);
  const installed = await updater.update();
  expect(server.count("/bundle/catalogue.tflite")).toBe(1);
  installed?.recommender.close();
});

test("a bundle that fails late leaves no model and no database behind", async () => {
  const models = vi.spyOn(Model, "load");
  const databases = vi.spyOn(RowsDatabase, "open");
  const closed = vi.spyOn(RowsDatabase.prototype, "close");
  await serve((manifest) => (manifest.catalogue.candidates += 1));
  await expect((await Updater.of(SHOP)).update()).rejects.toThrow(BundleFormatError);
  const loaded = await Promise.all(models.mock.results.map(({ value }) => value as Promise<Model>));
  expect(loaded.map((model) => model.isClosed)).toEqual([true, true]);
  expect(databases).toHaveBeenCalledTimes(1);
  expect(closed).toHaveBeenCalledTimes(1);
});

test("an opened bundle keeps none of its files beside what the models and the database hold", async () => {
  const bundle = await openBundle(new FolderSource(FOLDER));
  const recommender = await Recommender.load(bundle);
  for (const artifact of bundle.manifest.artifacts) {
    expect(() => bundle.take(artifact.path), artifact.path).toThrow(BundleFormatError);
  }
  expect((await recommender.prove()).overlap).toBe(1);
  recommender.close();
});
