import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { DigestMismatchError, DownloadError, HttpStatusError } from "../src/contract/errors.js";
import { type Artifact, sha256Of } from "../src/contract/manifest.js";
import { BundleStore } from "../src/updates/bundle_store.js";
import { download, downloadFile, PIECE_BYTES, STALL_MS } from "../src/updates/downloads.js";
import { FakeCaches } from "./support/fake_caches.js";
import { FileServer } from "./support/file_server.js";

const URL_OF = "https://shop.example/file";
const DATA = Uint8Array.from({ length: 3 * PIECE_BYTES + 1_000 }, (_, place) => (place * 31) % 251);

let server: FileServer;
let store: BundleStore;
let artifact: Artifact;

beforeEach(async () => {
  vi.stubGlobal("caches", new FakeCaches());
  server = new FileServer().install();
  server.files.set("/file", DATA);
  store = (await BundleStore.open("https://shop.example/")) as BundleStore;
  artifact = { path: "file", lengthBytes: DATA.length, sha256: await sha256Of(DATA) };
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test("a download that broke off goes on at the last whole piece, and the bytes before are not sent again", async () => {
  server.faults.set("/file", { after: 2 * PIECE_BYTES + 500, how: "ends" });
  await expect(downloadFile(URL_OF, artifact, store.piecesOf(artifact))).rejects.toThrow(/broke off after/);
  const { data, received } = await downloadFile(URL_OF, artifact, store.piecesOf(artifact));
  expect(await sha256Of(data)).toBe(artifact.sha256);
  expect(received).toBe(PIECE_BYTES + 1_000);
  expect(server.asked.at(-1)?.range).toBe(`bytes=${String(2 * PIECE_BYTES)}-`);
});

test("a server that gives no parts sends the whole file again", async () => {
  server.givesParts = false;
  server.faults.set("/file", { after: PIECE_BYTES + 1, how: "ends" });
  await expect(downloadFile(URL_OF, artifact, store.piecesOf(artifact))).rejects.toThrow(DownloadError);
  const { data, received } = await downloadFile(URL_OF, artifact, store.piecesOf(artifact));
  expect(await sha256Of(data)).toBe(artifact.sha256);
  expect(received).toBe(DATA.length);
});

test("pieces of another content are forgotten with the file that they spoil", async () => {
  await store.piecesOf(artifact).keep(0, new Uint8Array(PIECE_BYTES));
  await expect(downloadFile(URL_OF, artifact, store.piecesOf(artifact))).rejects.toThrow(DigestMismatchError);
  expect(await store.piecesOf(artifact).read()).toEqual([]);
  const { data } = await downloadFile(URL_OF, artifact, store.piecesOf(artifact));
  expect(await sha256Of(data)).toBe(artifact.sha256);
});

test("a file longer than announced is not read further", async () => {
  server.files.set("/file", new Uint8Array(DATA.length + 1));
  await expect(downloadFile(URL_OF, artifact, null)).rejects.toThrow(/is longer than/);
  await expect(download(URL_OF, 10, "no-cache")).rejects.toThrow(/longer than the 10 bytes/);
});

test("a connection that falls silent is given up after the stall limit", async () => {
  vi.useFakeTimers();
  server.faults.set("/file", { after: 10, how: "stalls" });
  const stalled = expect(downloadFile(URL_OF, artifact, null)).rejects.toThrow(/sent nothing for 20 s/);
  await vi.advanceTimersByTimeAsync(STALL_MS);
  await stalled;
});

test("a slow download has no limit as long as bytes arrive", async () => {
  vi.useFakeTimers();
  const parts = 10;
  const part = DATA.subarray(0, 100);
  const whole = new Uint8Array(part.length * parts);
  for (let place = 0; place < parts; place++) whole.set(part, place * part.length);
  vi.stubGlobal("fetch", async () => Promise.resolve(new Response(slowly(part, parts))));
  const small = { path: "file", lengthBytes: whole.length, sha256: await sha256Of(whole) };
  const arriving = downloadFile(URL_OF, small, null);
  await vi.advanceTimersByTimeAsync(parts * (STALL_MS - 1));
  expect((await arriving).received).toBe(whole.length);
});

test("the time that a server asks to wait is part of its refusal", async () => {
  const headers = { "Retry-After": "120" };
  vi.stubGlobal("fetch", async () => Promise.resolve(new Response("", { status: 503, headers })));
  const refusal = await download(URL_OF, 10, "no-cache").catch((error: unknown) => error);
  expect(refusal).toBeInstanceOf(HttpStatusError);
  expect(refusal).toMatchObject({ statusCode: 503, retryAfterS: 120 });
});

function slowly(part: Uint8Array, times: number): ReadableStream<Uint8Array> {
  let sent = 0;
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      await new Promise((resolve) => setTimeout(resolve, STALL_MS - 1));
      controller.enqueue(part.slice());
      if (++sent === times) controller.close();
    },
  });
}
