/**
 * Which metadata of TUF is to be trusted: takes bytes, refuses or remembers them; no network and no storage.
 *
 * The client workflow of the TUF specification (chapter 5), in the steps of python-tuf's TrustedMetadataSet, with Ed25519 by
 * WebCrypto. tuf-js cannot do it here: it needs files, `Buffer` and `crypto` of Node.
 */

import { ExpiredReleaseError, reasonOf, RollbackError, SignatureError } from "../contract/errors.js";
import { sha256Of } from "../contract/manifest.js";

type Json = Readonly<Record<string, unknown>>;

interface Role {
  readonly keyids: readonly string[];
  readonly threshold: number;
}

interface DelegatedRole extends Role {
  readonly name: string;
  readonly paths?: readonly string[];
  readonly terminating?: boolean;
}

interface KeyRing {
  readonly keys: Readonly<Record<string, { keytype: string; scheme: string; keyval: { public: string } }>>;
}

interface Signed {
  readonly _type: string;
  readonly version: number;
  readonly expires: string;
}

/** What names the next metadata: its version, and its length and hash where they are given. */
export interface MetaFile {
  readonly version: number;
  readonly length?: number;
  readonly hashes?: Readonly<Record<string, string>>;
}

interface Root extends Signed, KeyRing {
  readonly roles: Readonly<Record<string, Role>>;
}

interface WithMeta extends Signed {
  readonly meta: Readonly<Record<string, MetaFile>>;
}

/** A signed file: where it is, its length and SHA-256, and what else is signed of it. */
export interface Target {
  readonly path: string;
  readonly lengthBytes: number;
  readonly sha256: string;
  readonly custom: unknown;
}

interface Targets extends Signed {
  readonly targets: Readonly<Record<string, { length: number; hashes: Record<string, string>; custom?: unknown }>>;
  readonly delegations?: KeyRing & { readonly roles?: readonly DelegatedRole[] };
}

/** The metadata that was found to be genuine, in the order in which it must be given: roots, timestamp, snapshot, targets. */
export class TrustedMetadata {
  private timestamp: WithMeta | null = null;
  private snapshot: WithMeta | null = null;
  private readonly targets = new Map<string, Targets>();

  private constructor(
    private root: Root,
    private readonly now: Date,
  ) {}

  /** Begin with a root that is trusted already; it must only be signed by itself. */
  static async of(root: Uint8Array, now: Date): Promise<TrustedMetadata> {
    const read = readMetadata(root, "root") as Read<Root>;
    await verify(read, read.signed, read.signed.roles["root"], "root");
    return new TrustedMetadata(read.signed, now);
  }

  /** The version of the newest trusted root. */
  get rootVersion(): number {
    return this.root.version;
  }

  /** Trust the next root: signed by the one before and by itself, its version one higher. */
  async updateRoot(data: Uint8Array): Promise<void> {
    const read = readMetadata(data, "root") as Read<Root>;
    await verify(read, this.root, this.root.roles["root"], "root");
    if (read.signed.version !== this.root.version + 1) {
      throw new RollbackError(`expected root version ${String(this.root.version + 1)}, got ${String(read.signed.version)}`);
    }
    await verify(read, read.signed, read.signed.roles["root"], "root");
    this.root = read.signed;
  }

  /** Trust a timestamp unless it is older; return whether it is newer. An expired one still shows what was seen before. */
  async updateTimestamp(data: Uint8Array): Promise<boolean> {
    this.checkFresh(this.root, "root");
    const { signed } = await this.signedByRoot<WithMeta>(data, "timestamp");
    const offered = metaOf(signed, "snapshot.json");
    if (this.timestamp !== null) {
      const known = metaOf(this.timestamp, "snapshot.json").version;
      if (signed.version < this.timestamp.version || offered.version < known) {
        throw new RollbackError("the server offers something older than was seen before; it was refused");
      }
      if (signed.version === this.timestamp.version) return false;
    }
    this.timestamp = signed;
    this.checkFresh(signed, "timestamp");
    return true;
  }

  /** Return what the trusted timestamp says of the snapshot. */
  get snapshotMeta(): MetaFile {
    return metaOf(present(this.timestamp), "snapshot.json");
  }

  /** Trust a snapshot; `kept` is one that was trusted before, which need not fit the timestamp to show what was seen. */
  async updateSnapshot(data: Uint8Array, kept = false): Promise<void> {
    this.checkFresh(present(this.timestamp), "timestamp");
    if (!kept) await checkMeta(data, this.snapshotMeta, "snapshot");
    const { signed } = await this.signedByRoot<WithMeta>(data, "snapshot");
    for (const [name, { version }] of Object.entries(this.snapshot?.meta ?? {})) {
      const next = signed.meta[name];
      if (next === undefined) throw new SignatureError(`the new snapshot does not name ${name}; it was refused`);
      if (next.version < version) {
        throw new RollbackError(`the server offers version ${String(next.version)} of ${name} after ${String(version)}`);
      }
    }
    this.snapshot = signed;
    this.checkFinalSnapshot();
  }

  /** Return what the trusted snapshot says of a role's targets. */
  targetsMeta(role: string): MetaFile {
    return metaOf(present(this.snapshot), `${role}.json`);
  }

  /** Trust the targets of `role`, to which the targets of `delegator` (null: the root) gave their keys. */
  async updateTargets(data: Uint8Array, role: string, delegator: string | null): Promise<void> {
    this.checkFinalSnapshot();
    const meta = this.targetsMeta(role);
    await checkMeta(data, meta, role);
    const read = readMetadata(data, "targets") as Read<Targets>;
    const { keys, roles } = delegator === null ? { keys: this.root, roles: null } : this.delegations(delegator);
    const trusted = roles === null ? this.root.roles["targets"] : roles.find(({ name }) => name === role);
    await verify(read, keys, trusted, role);
    if (read.signed.version !== meta.version) {
      throw new RollbackError(`expected ${role} version ${String(meta.version)}, got ${String(read.signed.version)}`);
    }
    this.checkFresh(read.signed, role);
    this.targets.set(role, read.signed);
  }

  /** Return whether the targets of a role are trusted already. */
  hasTargets(role: string): boolean {
    return this.targets.has(role);
  }

  /** Return what a role signed of a target, or null. */
  target(role: string, path: string): Target | null {
    const targets = this.targets.get(role)?.targets ?? {};
    const found = Object.hasOwn(targets, path) ? targets[path] : undefined;
    const sha256 = found?.hashes["sha256"];
    if (found === undefined || sha256 === undefined) return null;
    return { path, lengthBytes: found.length, sha256, custom: found.custom };
  }

  /** Return the roles that may sign a target for `role`, first those that are asked first; `last` ends the search. */
  delegates(role: string, path: string): { readonly name: string; readonly last: boolean }[] {
    const { roles } = this.delegations(role);
    return roles
      .filter(({ paths = [] }) => paths.some((pattern) => isMatch(path, pattern)))
      .map(({ name, terminating = false }) => ({ name, last: terminating }));
  }

  private delegations(role: string): { keys: KeyRing; roles: readonly DelegatedRole[] } {
    const found = this.targets.get(role)?.delegations;
    return { keys: found ?? { keys: {} }, roles: found?.roles ?? [] };
  }

  private async signedByRoot<T extends Signed>(data: Uint8Array, role: string): Promise<Read<T>> {
    const read = readMetadata(data, role) as Read<T>;
    await verify(read, this.root, this.root.roles[role], role);
    return read;
  }

  private checkFinalSnapshot(): void {
    const snapshot = present(this.snapshot);
    this.checkFresh(snapshot, "snapshot");
    if (snapshot.version !== this.snapshotMeta.version) {
      const [expected, found] = [String(this.snapshotMeta.version), String(snapshot.version)];
      throw new RollbackError(`expected snapshot version ${expected}, got ${found}`);
    }
  }

  private checkFresh(signed: Signed, role: string): void {
    const expires = Date.parse(signed.expires);
    if (this.now.getTime() < expires) return;
    throw new ExpiredReleaseError(
      `the signature of ${role} expired on ${signed.expires}; the server must renew it, or this device's clock is wrong`,
    );
  }
}

interface Read<T extends Signed> {
  readonly signed: T;
  readonly signatures: readonly { keyid: string; sig: string }[];
}

function readMetadata(data: Uint8Array, type: string): Read<Signed> {
  let value: Json;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(data)) as Json;
  } catch (error) {
    throw new SignatureError(`the server's ${type} is not JSON (${reasonOf(error)}); it was refused`);
  }
  const signed = value?.["signed"] as (Signed & Json) | undefined;
  const shapes: Record<string, string> = { root: "roles", timestamp: "meta", snapshot: "meta", targets: "targets" };
  const isWhole =
    signed?._type === type &&
    Number.isSafeInteger(signed.version) &&
    !Number.isNaN(Date.parse(signed.expires)) &&
    isObject(signed[shapes[type] as string]) &&
    Array.isArray(value["signatures"]);
  if (!isWhole) throw new SignatureError(`the server's ${type} is not what TUF calls so; it was refused`);
  return value as unknown as Read<Signed>;
}

/** Refuse metadata that fewer than the role's threshold of different keys have signed. */
async function verify(read: Read<Signed>, ring: KeyRing, role: Role | undefined, name: string): Promise<void> {
  const trusted = role?.keyids ?? [];
  const data = new TextEncoder().encode(canonicalJson(read.signed));
  const good = new Set<string>();
  for (const { keyid, sig } of read.signatures) {
    const publicKey = trusted.includes(keyid) ? ed25519Key(ring, keyid) : null;
    if (publicKey !== null && (await isSigned(data, publicKey, sig))) good.add(publicKey);
  }
  const needed = role?.threshold;
  if (needed !== undefined && needed >= 1 && good.size >= needed) return;
  throw new SignatureError(
    `the ${name} is signed by ${String(good.size)} of the keys that this browser trusts, needed are ` +
      `${String(needed ?? "keys for this role")}; it was refused`,
  );
}

/** Return the public key of a name in hex; null when there is none of that name, or of another kind. */
function ed25519Key({ keys }: KeyRing, keyid: string): string | null {
  const key = Object.hasOwn(keys, keyid) ? keys[keyid] : undefined;
  return key?.keytype === "ed25519" && key.scheme === "ed25519" ? key.keyval.public : null;
}

async function isSigned(data: Uint8Array, publicKey: string, signature: string): Promise<boolean> {
  try {
    const key = await crypto.subtle.importKey("raw", fromHex(publicKey), { name: "Ed25519" }, false, ["verify"]);
    return await crypto.subtle.verify({ name: "Ed25519" }, key, fromHex(signature), data as Uint8Array<ArrayBuffer>);
  } catch (error) {
    if (error instanceof DOMException && error.name === "NotSupportedError") {
      throw new SignatureError("this browser cannot check Ed25519 signatures; update it, then open the page again");
    }
    return false;
  }
}

function fromHex(text: string): Uint8Array<ArrayBuffer> {
  if (!/^(?:[0-9a-f]{2})+$/i.test(text)) throw new SignatureError("a key or signature is not in hex");
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

/** Return the canonical JSON over which TUF signs: sorted keys, no spaces, whole numbers, texts as they are. */
export function canonicalJson(value: unknown): string {
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value === "string") return `"${value.replace(/[\\"]/g, "\\$&")}"`;
  if (typeof value === "number" && Number.isSafeInteger(value)) return String(value);
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  if (!isObject(value)) throw new SignatureError("what is signed has a number that is not whole; it was refused");
  const fields = Object.keys(value).sort();
  return `{${fields.map((name) => `${canonicalJson(name)}:${canonicalJson(value[name])}`).join(",")}}`;
}

async function checkMeta(data: Uint8Array, { length, hashes }: MetaFile, name: string): Promise<void> {
  const sha256 = hashes?.["sha256"];
  const isSame = (length === undefined || length === data.length) && (sha256 === undefined || sha256 === (await sha256Of(data)));
  if (!isSame) throw new SignatureError(`the server sent another ${name} than what was signed; it was refused`);
}

function metaOf(signed: WithMeta, name: string): MetaFile {
  const found = Object.hasOwn(signed.meta, name) ? signed.meta[name] : undefined;
  if (found !== undefined && Number.isSafeInteger(found.version)) return found;
  throw new SignatureError(`the signed ${signed._type} does not name ${name}; publish again`);
}

/** Compare a path with a pattern, folder by folder: `*` stands for any characters of one name, `?` for one. */
function isMatch(path: string, pattern: string): boolean {
  const [names, patterns] = [path.split("/"), pattern.split("/")];
  return names.length === patterns.length && names.every((name, place) => wildcard(patterns[place] as string).test(name));
}

function wildcard(pattern: string): RegExp {
  const plain = pattern.replace(/[.+^${}()|[\]\\]/g, "\\$&");
  return new RegExp(`^${plain.replaceAll("*", ".*").replaceAll("?", ".")}$`, "s");
}

function present<T>(value: T | null): T {
  if (value === null) throw new SignatureError("metadata is checked in the order timestamp, snapshot, targets");
  return value;
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
