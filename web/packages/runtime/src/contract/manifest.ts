/** `manifest.json`: reading and checking it, as in edge_runtime/contract/bundle.py (docs/bundle-format.md). */

import { BundleFormatError, BundleVersionError, DigestMismatchError, reasonOf } from "./errors.js";

export const FORMAT_NAME = "pocketrec-bundle";
export const FORMAT_MAJOR = 1;
export const MANIFEST_FILE = "manifest.json";
export const MAX_MANIFEST_BYTES = 1_000_000;

export const ENCODER_FILE = "encoder.tflite";
export const VECTOR_INDEX_FILE = "catalogue.tflite";
export const CATALOGUE_ROWS_FILE = "catalogue.sqlite";
export const ITEM_VECTORS_FILE = "item_vectors.npy";
export const TOKENIZER_FILE = "tokenizer.json";
export const GOLDEN_FILE = "golden.json";

/** The files that a device opens; a report or a model card is not downloaded. */
export const DEVICE_FILES: readonly string[] = [
  ENCODER_FILE,
  TOKENIZER_FILE,
  VECTOR_INDEX_FILE,
  CATALOGUE_ROWS_FILE,
  ITEM_VECTORS_FILE,
  GOLDEN_FILE,
];

const PLAIN_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/;
const SHA256 = /^[0-9a-f]{64}$/;
const DECIMAL = /^\d+$/;

/** One file of the bundle: plain name without folders, length, SHA-256 in lower-case hex. */
export interface Artifact {
  readonly path: string;
  readonly lengthBytes: number;
  readonly sha256: string;
}

/** What `manifest.json` says; unknown fields are ignored, so that a minor version may add some. */
export interface Manifest {
  readonly formatVersion: string;
  readonly name: string;
  readonly createdAt: string;
  readonly space: { readonly id: string; readonly dim: number };
  readonly encoder: { readonly queryTokens: number; readonly itemTokens: number; readonly historyItems: number };
  readonly catalogue: { readonly products: number; readonly candidates: number };
  readonly fusion: {
    readonly denseWeight: number;
    readonly fieldWeights: Readonly<Record<string, number>>;
    readonly coverageWeights: Readonly<Record<string, number>>;
  };
  readonly artifacts: readonly Artifact[];
}

/** One JSON object with the place where it stands, for errors. */
class Fields {
  constructor(
    private readonly source: string,
    private readonly values: Readonly<Record<string, unknown>>,
    private readonly prefix = "",
  ) {}

  text(name: string): string {
    const value = this.values[name];
    if (typeof value !== "string") this.refuse(name, "a text", value);
    return value;
  }

  number(name: string): number {
    const value = this.values[name];
    if (typeof value !== "number") this.refuse(name, "a number", value);
    return value;
  }

  integer(name: string): number {
    const value = this.number(name);
    if (!Number.isSafeInteger(value)) this.refuse(name, "a whole number", value);
    return value;
  }

  object(name: string): Fields {
    const value = this.values[name];
    if (!isObject(value)) this.refuse(name, "an object", value);
    return new Fields(this.source, value, `${this.prefix}${name}.`);
  }

  numbers(name: string, missing?: Record<string, number>): Record<string, number> {
    const value = this.values[name] ?? missing;
    if (!isObject(value)) this.refuse(name, "an object of numbers", value);
    const entries = value;
    for (const [key, one] of Object.entries(entries)) {
      if (typeof one !== "number") this.refuse(`${name}.${key}`, "a number", one);
    }
    return entries as Record<string, number>;
  }

  list(name: string): Fields[] {
    const value = this.values[name];
    if (!Array.isArray(value)) this.refuse(name, "a list", value);
    return (value as unknown[]).map((one, place) => {
      const where = `${this.prefix}${name}[${String(place)}]`;
      if (!isObject(one)) this.refuse(`${name}[${String(place)}]`, "an object", one);
      return new Fields(this.source, one, `${where}.`);
    });
  }

  private refuse(name: string, expected: string, found: unknown): never {
    const shown = found === undefined ? "nothing" : JSON.stringify(found);
    throw new BundleFormatError(
      `${this.source}: ${this.prefix}${name} must be ${expected}, found ${shown.slice(0, 60)}; get the bundle again`,
    );
  }
}

/**
 * Read and check the bytes of a manifest that nobody has vouched for; `source` names them in errors.
 *
 * @throws BundleFormatError not JSON, a field is missing or of the wrong type, or a path that is not a plain file name.
 * @throws BundleVersionError a newer major version.
 */
export function decodeManifest(data: Uint8Array, source: string): Manifest {
  if (data.length > MAX_MANIFEST_BYTES) {
    throw new BundleFormatError(
      `${source}: ${String(data.length)} bytes, a manifest has ${String(MAX_MANIFEST_BYTES)} at most`,
    );
  }
  const head = readObject(data, source);
  if (head["format"] !== FORMAT_NAME) {
    throw new BundleFormatError(
      `${source}: expected format '${FORMAT_NAME}', found ${JSON.stringify(head["format"] ?? null)}`,
    );
  }
  checkVersion(head["format_version"], source);
  const manifest = fromFields(new Fields(source, head));
  checkArtifacts(manifest, source);
  return manifest;
}

function readObject(data: Uint8Array, source: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(data));
  } catch (error) {
    throw new BundleFormatError(`${source} is not a JSON object (${reasonOf(error)}); get the bundle again`);
  }
  if (!isObject(value)) throw new BundleFormatError(`${source} is not a JSON object; get the bundle again`);
  return value;
}

function checkVersion(found: unknown, source: string): void {
  const version = typeof found === "string" ? found : "";
  const [major = "", minor = "", ...rest] = version.split(".");
  if (!DECIMAL.test(major) || !DECIMAL.test(minor) || rest.length > 0) {
    throw new BundleFormatError(`${source}: expected format_version like '1.0', found '${version}'`);
  }
  if (Number(major) > FORMAT_MAJOR) {
    throw new BundleVersionError(
      `${source} has format version ${version}, this runtime reads ${String(FORMAT_MAJOR)}.x; update the runtime`,
    );
  }
}

function fromFields(fields: Fields): Manifest {
  const space = fields.object("space");
  const encoder = fields.object("encoder");
  const catalogue = fields.object("catalogue");
  const fusion = fields.object("fusion");
  fields.text("config_digest");
  fields.text("shop_digest");
  return {
    formatVersion: fields.text("format_version"),
    name: fields.text("name"),
    createdAt: fields.text("created_at"),
    space: { id: space.text("id"), dim: space.integer("dim") },
    encoder: {
      queryTokens: encoder.integer("query_tokens"),
      itemTokens: encoder.integer("item_tokens"),
      historyItems: encoder.integer("history_items"),
    },
    catalogue: { products: catalogue.integer("products"), candidates: catalogue.integer("candidates") },
    fusion: {
      denseWeight: fusion.number("dense_weight"),
      fieldWeights: fusion.numbers("field_weights"),
      coverageWeights: fusion.numbers("coverage_weights", {}),
    },
    artifacts: fields.list("artifacts").map((one) => ({
      path: one.text("path"),
      lengthBytes: one.integer("length_bytes"),
      sha256: one.text("sha256"),
    })),
  };
}

function checkArtifacts(manifest: Manifest, source: string): void {
  const seen = new Set<string>();
  for (const artifact of manifest.artifacts) {
    if (!PLAIN_NAME.test(artifact.path) || artifact.path === MANIFEST_FILE) {
      const shown = JSON.stringify(artifact.path);
      throw new BundleFormatError(
        `${source}: ${shown} is not a plain file name; a bundle's files lie beside its manifest`,
      );
    }
    if (seen.has(artifact.path)) throw new BundleFormatError(`${source} names ${artifact.path} twice`);
    if (artifact.lengthBytes < 0 || !SHA256.test(artifact.sha256)) {
      throw new BundleFormatError(`${source}: length or SHA-256 of ${artifact.path} is malformed`);
    }
    seen.add(artifact.path);
  }
  const missing = DEVICE_FILES.filter((name) => !seen.has(name));
  if (missing.length > 0) {
    throw new BundleFormatError(`${source} does not name ${missing.sort().join(", ")}; build the bundle again`);
  }
}

/** Return the SHA-256 of `data` in lower-case hex. */
export async function sha256Of(data: Uint8Array): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", data as Uint8Array<ArrayBuffer>);
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Compare one file's bytes with what the manifest says of them.
 *
 * @throws DigestMismatchError its length or its SHA-256 differs.
 */
export async function checkArtifact(artifact: Artifact, data: Uint8Array): Promise<void> {
  if (data.length !== artifact.lengthBytes) {
    throw new DigestMismatchError(
      `${artifact.path} has ${String(data.length)} bytes, the manifest says ${String(artifact.lengthBytes)}: ` +
        "it is cut or changed; get the bundle again",
    );
  }
  if ((await sha256Of(data)) !== artifact.sha256) {
    throw new DigestMismatchError(
      `${artifact.path} is not the file that the manifest names: its SHA-256 differs; get the bundle again`,
    );
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
