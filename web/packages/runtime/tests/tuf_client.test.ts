import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { ExpiredReleaseError, RollbackError, SignatureError } from "../src/contract/errors.js";
import { type Offer } from "../src/contract/offer.js";
import { canonicalJson } from "../src/updates/trusted_metadata.js";
import { checkClock, MetadataStore, TrustedTargets } from "../src/updates/tuf_client.js";
import { FakeCaches } from "./support/fake_caches.js";
import { FileServer } from "./support/file_server.js";
import { newKey, TufRepository } from "./support/tuf_repository.js";

const SERVER = "https://shop.example";
const NOW = new Date("2030-01-01T00:00:00Z");
const SHA = "ab".repeat(32);
const FILE = { length: 5, hashes: { sha256: SHA } };
const PATH = "files/one";

let server: FileServer;
let repository: TufRepository;
let root: Uint8Array;

beforeEach(async () => {
  vi.stubGlobal("caches", new FakeCaches());
  server = new FileServer().install();
  repository = new TufRepository(server.files);
  root = server.files.get("/v1/tuf/1.root.json") as Uint8Array;
  await repository.sign("targets", { [PATH]: FILE });
});
afterEach(() => vi.unstubAllGlobals());

async function refresh(options: { offer?: Offer; trustedRoot?: Uint8Array | null; now?: Date } = {}): Promise<TrustedTargets> {
  const { offer = repository.offer, trustedRoot = root, now = NOW } = options;
  return TrustedTargets.refresh(SERVER, offer, { store: await MetadataStore.open(SERVER), trustedRoot, now });
}

function forge(role: string): void {
  repository.keys[role] = [newKey(`${role}-1`)];
}

test("finds what the trusted keys have signed, and asks for nothing twice", async () => {
  const found = await (await refresh()).find(PATH, "stable");
  expect(found).toMatchObject({ path: PATH, lengthBytes: 5, sha256: SHA });
  const asked = server.asked.length;
  const again = await refresh();
  expect(await again.find("files/two", "stable")).toBeNull();
  expect(server.asked.length).toBe(asked);
});

test.each(["timestamp", "snapshot", "targets"])("a %s that another key signed is refused", async (role) => {
  forge(role);
  await repository.sign("targets", { [PATH]: FILE });
  await expect(refresh()).rejects.toThrow(SignatureError);
});

test("a changed word under a true signature is refused", async () => {
  const timestamp = repository.offer.timestamp.replace('"version":1', '"version":9');
  await expect(refresh({ offer: { ...repository.offer, timestamp } })).rejects.toThrow(SignatureError);
});

test("too few signatures do not reach the threshold, and one key that signs twice counts once", async () => {
  const [first, second] = [newKey("a"), newKey("b")];
  repository = new TufRepository(server.files);
  repository.keys["targets"] = [first, second];
  repository.thresholds["targets"] = 2;
  const next = repository.addRoot(repository.keys["root"]);
  await repository.sign("targets", { [PATH]: FILE }, [first, first]);
  await expect(refresh({ trustedRoot: next })).rejects.toThrow(/targets is signed by 1 of the keys.*needed are 2/);
  await repository.sign("targets", { [PATH]: FILE }, [first, second]);
  await expect(refresh({ trustedRoot: next })).resolves.toBeDefined();
});

test("an older timestamp than was seen is refused, also by the next visit", async () => {
  const old = repository.offer;
  await repository.publish();
  await refresh();
  await expect(refresh({ offer: old })).rejects.toThrow(RollbackError);
});

test("targets that go back are refused although the online keys are stolen", async () => {
  const stale = repository.offer;
  const oldTargets = server.files.get("/v1/tuf/1.targets.json") as Uint8Array;
  await repository.sign("targets", {});
  await refresh();
  const thief = new TufRepository(server.files);
  thief.keys = repository.keys;
  thief.versions = { ...repository.versions };
  await thief.sign("targets", { [PATH]: FILE });
  server.files.set("/v1/tuf/1.targets.json", oldTargets);
  await expect(refresh({ offer: { ...stale, timestamp: thief.offer.timestamp } })).rejects.toThrow(RollbackError);
});

test.each(["root", "timestamp", "snapshot", "targets"])("an expired %s is refused: nobody can freeze a browser", async (role) => {
  repository.expires[role] = "2029-12-31T23:59:59Z";
  if (role === "root") root = repository.addRoot(repository.keys["root"]);
  await repository.sign("targets", { [PATH]: FILE });
  await expect(refresh()).rejects.toThrow(ExpiredReleaseError);
  await expect(refresh({ now: new Date("2029-12-01T00:00:00Z") })).resolves.toBeDefined();
});

test("other targets than the snapshot names are refused", async () => {
  const data = server.files.get("/v1/tuf/1.targets.json") as Uint8Array;
  server.files.set("/v1/tuf/1.targets.json", Uint8Array.from([...data.slice(0, -1), 32]));
  await expect(refresh()).rejects.toThrow(SignatureError);
});

test("a new root is followed when the old keys signed it, and else refused", async () => {
  const old = repository.keys["root"];
  repository.keys["root"] = [newKey("root-2")];
  repository.keys["targets"] = [newKey("targets-2")];
  repository.addRoot(old);
  await repository.sign("targets", { [PATH]: FILE });
  expect(await (await refresh()).find(PATH, "stable")).not.toBeNull();
  repository.keys["root"] = [newKey("root-3")];
  repository.addRoot();
  await expect(refresh()).rejects.toThrow(SignatureError);
});

test("without a root of its own a browser keeps the one of its first visit, and trusts no other afterwards", async () => {
  await refresh({ trustedRoot: null });
  const other = new TufRepository(server.files);
  await other.sign("targets", { [PATH]: FILE });
  await expect(refresh({ offer: other.offer, trustedRoot: null })).rejects.toThrow(SignatureError);
});

test("a team signs its channel and nothing else", async () => {
  const team = newKey("team");
  const [own, foreign] = ["channels/team/files/one", "channels/stable/files/one"];
  await repository.sign("targets", {}, repository.keys["targets"], repository.delegation("team", team));
  await repository.sign("channel-team", { [own]: FILE, [foreign]: FILE }, [team]);
  const found = await refresh();
  expect(await found.find(PATH, "team")).toMatchObject({ path: own });
  expect(await found.find(PATH, "stable")).toBeNull();
  expect(found.urlOf({ path: own, sha256: SHA, lengthBytes: 5, custom: null })).toBe(
    `${SERVER}/v1/tuf/targets/channels/team/files/${SHA}.one`,
  );
});

test("what another key signed for a team's channel is refused", async () => {
  await repository.sign("targets", {}, repository.keys["targets"], repository.delegation("team", newKey("team")));
  await repository.sign("channel-team", { "channels/team/files/one": FILE }, [newKey("team")]);
  await expect((await refresh()).find(PATH, "team")).rejects.toThrow(SignatureError);
});

test("signs over the same bytes as python-tuf", () => {
  const value = { b: [1, true, null], a: 'say "\\ü\n"', "": {} };
  expect(canonicalJson(value)).toBe('{"":{},"a":"say \\"\\\\ü\n\\"","b":[1,true,null]}');
  expect(() => canonicalJson({ share: 0.5 })).toThrow(SignatureError);
});

test("a clock more than a day behind the release judges nothing", () => {
  expect(() => checkClock("2030-01-03T00:00:00+00:00", NOW)).toThrow(ExpiredReleaseError);
  expect(() => checkClock("2030-01-01T20:00:00+00:00", NOW)).not.toThrow();
});
