/** A TUF repository that signs what a test wants: with other keys, too few of them, expired, or older than before. */

import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";

import { type Offer } from "../../src/contract/offer.js";
import { sha256Of } from "../../src/contract/manifest.js";
import { canonicalJson } from "../../src/updates/trusted_metadata.js";

type Json = Record<string, unknown>;

/** A key that signs. */
export interface Signer {
  readonly keyid: string;
  readonly secret: KeyObject;
  readonly publicHex: string;
}

/** Return a new key. */
export function newKey(keyid: string): Signer {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const { x } = publicKey.export({ format: "jwk" });
  return { keyid, secret: privateKey, publicHex: Buffer.from(x as string, "base64url").toString("hex") };
}

/** Return the bytes of metadata that some keys have signed. */
export function signed(content: Json, signers: readonly Signer[]): Uint8Array {
  const data = Buffer.from(canonicalJson(content));
  const signatures = signers.map(({ keyid, secret }) => ({ keyid, sig: sign(null, data, secret).toString("hex") }));
  return Buffer.from(JSON.stringify({ signed: content, signatures }));
}

function keysOf(signers: readonly Signer[]): Json {
  const key = ({ keyid, publicHex }: Signer): [string, Json] => [
    keyid,
    { keytype: "ed25519", scheme: "ed25519", keyval: { public: publicHex } },
  ];
  return Object.fromEntries(signers.map(key));
}

const FAR = "2040-01-01T00:00:00Z";

/** The roles' keys and what is signed now; `publish` makes it the served state, below `/v1/tuf/`. */
export class TufRepository {
  keys: Record<string, Signer[]> = Object.fromEntries(
    ["root", "timestamp", "snapshot", "targets"].map((role) => [role, [newKey(`${role}-1`)]]),
  );
  thresholds: Record<string, number> = {};
  expires: Record<string, string> = {};
  versions: Record<string, number> = { root: 0, timestamp: 0, snapshot: 0 };
  offer: Offer = { root_version: 1, timestamp: "" };
  private readonly targets: Record<string, { version: number; data: Uint8Array }> = {};

  constructor(private readonly files: Map<string, Uint8Array>) {
    this.addRoot();
  }

  /** Serve the next root, with the keys as they are now; `signers` are those of the one before as well. */
  addRoot(signers: readonly Signer[] = []): Uint8Array {
    const version = (this.versions["root"] = (this.versions["root"] ?? 0) + 1);
    const roles: Json = {};
    for (const [role, keys] of Object.entries(this.keys)) {
      roles[role] = { keyids: keys.map(({ keyid }) => keyid), threshold: this.thresholds[role] ?? 1 };
    }
    const content = {
      ...this.head("root", version),
      consistent_snapshot: true,
      keys: keysOf(Object.values(this.keys).flat()),
      roles,
    };
    const data = signed(content, [...(this.keys["root"] ?? []), ...signers]);
    this.files.set(`/v1/tuf/${String(version)}.root.json`, data);
    this.offer = { ...this.offer, root_version: version };
    return data;
  }

  /** Sign targets of a role by `signers`, then snapshot and timestamp. */
  async sign(role: string, targets: Json, signers = this.keys[role] ?? [], delegations?: Json): Promise<void> {
    const version = (this.targets[role]?.version ?? 0) + 1;
    const head = { ...this.head("targets", version), targets };
    this.targets[role] = { version, data: signed(delegations === undefined ? head : { ...head, delegations }, signers) };
    await this.publish();
  }

  /** Sign snapshot and timestamp of what there is. */
  async publish(): Promise<void> {
    const metas = Object.entries(this.targets).map(async ([role, { version, data }]): Promise<[string, Json]> => {
      this.files.set(`/v1/tuf/${String(version)}.${role}.json`, data);
      return [`${role}.json`, { version, length: data.length, hashes: { sha256: await sha256Of(data) } }];
    });
    const snapshot = await this.online("snapshot", Object.fromEntries(await Promise.all(metas)));
    this.files.set(`/v1/tuf/${String(snapshot.version)}.snapshot.json`, snapshot.data);
    const meta = { version: snapshot.version, length: snapshot.data.length, hashes: { sha256: await sha256Of(snapshot.data) } };
    const timestamp = await this.online("timestamp", { "snapshot.json": meta });
    this.offer = { ...this.offer, timestamp: Buffer.from(timestamp.data).toString() };
  }

  /** Return a delegation of the paths of a channel to the holder of a key. */
  delegation(channel: string, key: Signer): Json {
    const paths = [`channels/${channel}/*`, `channels/${channel}/*/*`];
    const role = { name: `channel-${channel}`, keyids: [key.keyid], threshold: 1, terminating: true, paths };
    return { keys: keysOf([key]), roles: [role] };
  }

  private async online(role: string, meta: Json): Promise<{ version: number; data: Uint8Array }> {
    const version = (this.versions[role] = (this.versions[role] ?? 0) + 1);
    return Promise.resolve({ version, data: signed({ ...this.head(role, version), meta }, this.keys[role] ?? []) });
  }

  private head(type: string, version: number): Json {
    return { _type: type, spec_version: "1.0.31", version, expires: this.expires[type] ?? FAR };
  }
}
