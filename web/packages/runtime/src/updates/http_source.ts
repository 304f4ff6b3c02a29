/** A bundle on a web server: a folder of files, or the channel of a sync server (edge_runtime/updates/http_transport.py). */

import { type BundleSource } from "../contract/bundle.js";
import { DownloadError, HttpStatusError, reasonOf } from "../contract/errors.js";
import { type Artifact, MANIFEST_FILE, MAX_MANIFEST_BYTES } from "../contract/manifest.js";

const TIMEOUT_MS = 60_000;
const RELEASE_HEADER = "Pocketrec-Release";

/** A whole answer. */
export interface Downloaded {
  readonly data: Uint8Array;
  readonly headers: Headers;
}

/** Files below `url`; nothing longer than was announced is read. */
export class HttpSource implements BundleSource {
  readonly name: string;

  /** Which release the server called its bundle when the manifest was read last; null from a plain folder. */
  release: number | null = null;

  /** Take the bundle whose `manifest.json` lies below `url`. */
  constructor(url: string) {
    this.name = url.replace(/\/+$/, "");
  }

  async manifest(): Promise<Uint8Array> {
    const { data, headers } = await download(`${this.name}/${MANIFEST_FILE}`, MAX_MANIFEST_BYTES, "no-cache");
    this.release = Number(headers.get(RELEASE_HEADER)) || null;
    return data;
  }

  async file(artifact: Artifact): Promise<Uint8Array> {
    // A plain folder ignores the digest; a sync server gives the file of just this release, even while another comes out.
    const url = `${this.name}/${artifact.path}?sha256=${artifact.sha256}`;
    return (await download(url, artifact.lengthBytes, "default")).data;
  }
}

/**
 * Return the body of an answer of at most `maxBytes`.
 *
 * @throws DownloadError no connection, too slow, or too long.
 * @throws HttpStatusError the server refuses.
 */
export async function download(url: string, maxBytes: number, cache: RequestCache): Promise<Downloaded> {
  let answer: Response;
  try {
    answer = await fetch(url, { cache, signal: AbortSignal.timeout(TIMEOUT_MS) });
  } catch (error) {
    throw new DownloadError(`cannot reach ${url} (${reasonOf(error)}); try again later`);
  }
  if (!answer.ok) {
    throw new HttpStatusError(`${url} answered with status ${String(answer.status)}; try again later`, answer.status);
  }
  try {
    return { data: await readLimited(answer, url, maxBytes), headers: answer.headers };
  } catch (error) {
    if (error instanceof DownloadError) throw error;
    throw new DownloadError(`${url} broke off (${reasonOf(error)}); try again later`);
  }
}

async function readLimited(answer: Response, url: string, maxBytes: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let length = 0;
  const reader = answer.body?.getReader();
  for (let part = await reader?.read(); part?.value !== undefined; part = await reader?.read()) {
    length += part.value.length;
    if (length > maxBytes) {
      await reader?.cancel();
      throw new DownloadError(`${url} is longer than the ${String(maxBytes)} bytes that were announced`);
    }
    parts.push(part.value);
  }
  const whole = new Uint8Array(length);
  let start = 0;
  for (const part of parts) {
    whole.set(part, start);
    start += part.length;
  }
  return whole;
}
