/** Downloads: no longer than was announced, given up when nothing arrives, continued where they broke off. */

import { DownloadError, HttpStatusError, reasonOf } from "../contract/errors.js";
import { type Artifact, checkArtifact } from "../contract/manifest.js";

/** So long may pass between two arrivals of bytes; a slow download that goes on has no limit (http_transport.py). */
export const STALL_MS = 20_000;

/** What is kept at once of a file under way: at 1 Mbit/s a page that is closed loses the last 8 s. */
export const PIECE_BYTES = 1 << 20;

const LONGEST_RETRY_AFTER_S = 86_400; // a day: a mistaken header must not silence a page for longer

/** A whole answer. */
export interface Downloaded {
  readonly data: Uint8Array;
  readonly headers: Headers;
}

/** Keeps the beginning of a file while it is under way. */
export interface Pieces {
  /** Return the pieces that are kept, from the first on. */
  read(): Promise<Uint8Array[]>;
  /** Keep piece number `place`. */
  keep(place: number, data: Uint8Array): Promise<void>;
  /** Forget all pieces. */
  forget(): Promise<void>;
}

/**
 * Return the body of an answer of at most `maxBytes`.
 *
 * @throws DownloadError no connection, a stall, or too long.
 * @throws HttpStatusError the server refuses.
 */
export async function download(url: string, maxBytes: number, cache: RequestCache): Promise<Downloaded> {
  return requested(url, { cache }, async (answer, arrived) => {
    const parts: Uint8Array[] = [];
    let length = 0;
    for await (const part of partsOf(answer)) {
      arrived();
      length += part.length;
      if (length > maxBytes) throw tooLong(url, maxBytes);
      parts.push(part);
    }
    const data = new Uint8Array(length);
    fill(data, parts);
    return { data, headers: answer.headers };
  });
}

/** What a download of a file took. */
export interface DownloadedFile {
  readonly data: Uint8Array;
  /** How many bytes came over the network this time. */
  readonly received: number;
}

/**
 * Return the file `artifact` names, checked; what `pieces` has of it is not downloaded again.
 *
 * Stopped halfway, `pieces` holds the beginning and the next call continues there, where the server gives parts (Range).
 *
 * @throws DownloadError no connection, a stall, or too long; call again to continue.
 * @throws HttpStatusError the server refuses.
 * @throws DigestMismatchError it is another file; the pieces are forgotten.
 */
export async function downloadFile(url: string, artifact: Artifact, pieces: Pieces | null): Promise<DownloadedFile> {
  const file = new ArrivingFile(url, artifact, pieces);
  await file.takeKept();
  if (!file.isWhole) await file.fetchRest();
  try {
    await checkArtifact(artifact, file.data);
  } catch (error) {
    await pieces?.forget();
    throw error;
  }
  return { data: file.data, received: file.received };
}

class ArrivingFile {
  received = 0;
  readonly data: Uint8Array;
  private length = 0;
  private kept = 0;

  constructor(
    private readonly url: string,
    artifact: Artifact,
    private readonly pieces: Pieces | null,
  ) {
    try {
      this.data = new Uint8Array(artifact.lengthBytes);
    } catch {
      throw new DownloadError(`${artifact.path} has ${String(artifact.lengthBytes)} bytes, too many for this browser`);
    }
  }

  get isWhole(): boolean {
    return this.length === this.data.length;
  }

  async takeKept(): Promise<void> {
    const kept = (await this.pieces?.read()) ?? [];
    const length = kept.reduce((sum, piece) => sum + piece.length, 0);
    if (length > this.data.length || kept.some((piece) => piece.length !== PIECE_BYTES)) return;
    fill(this.data, kept);
    this.length = length;
    this.kept = kept.length;
  }

  async fetchRest(): Promise<void> {
    const from = this.length;
    // Kept by us under its digest, it need not lie in the browser's own cache as well.
    const options: RequestInit = { cache: "no-store" };
    if (from > 0) options.headers = { Range: `bytes=${String(from)}-` };
    await requested(this.url, options, async (answer, arrived) => {
      if (from > 0 && !continuesAt(answer, from)) this.length = this.kept = 0;
      for await (const part of partsOf(answer)) {
        arrived();
        this.add(part);
        await this.keepWholePieces();
      }
    });
    if (this.isWhole) return;
    const [have, all] = [String(this.length), String(this.data.length)];
    throw new DownloadError(`${this.url} broke off after ${have} of ${all} bytes; try again later`);
  }

  private add(part: Uint8Array): void {
    this.received += part.length;
    if (this.length + part.length > this.data.length) throw tooLong(this.url, this.data.length);
    this.data.set(part, this.length);
    this.length += part.length;
  }

  private async keepWholePieces(): Promise<void> {
    while (this.pieces !== null && !this.isWhole && this.length >= (this.kept + 1) * PIECE_BYTES) {
      const start = this.kept * PIECE_BYTES;
      // Without room for a piece the download goes on; only to continue it later is not possible.
      await this.pieces.keep(this.kept, this.data.slice(start, start + PIECE_BYTES)).catch(() => undefined);
      this.kept += 1;
    }
  }
}

async function requested<T>(
  url: string,
  options: RequestInit,
  read: (answer: Response, arrived: () => void) => Promise<T>,
): Promise<T> {
  const stopped = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const arrived = (): void => {
    clearTimeout(timer);
    const seconds = String(STALL_MS / 1_000);
    const stalled = new DownloadError(`${url} sent nothing for ${seconds} s; try again later`);
    timer = setTimeout(() => stopped.abort(stalled), STALL_MS);
  };
  arrived();
  try {
    const answer = await fetch(url, { ...options, signal: stopped.signal });
    if (!answer.ok) throw refused(url, answer);
    return await read(answer, arrived);
  } catch (error) {
    stopped.abort();
    if (error instanceof DownloadError) throw error;
    throw new DownloadError(`cannot read ${url} (${reasonOf(error)}); try again later`);
  } finally {
    clearTimeout(timer);
  }
}

function refused(url: string, answer: Response): HttpStatusError {
  const status = `${url} answered with status ${String(answer.status)}; try again later`;
  const seconds = Number(answer.headers.get("Retry-After") ?? "0");
  const retryAfterS = Math.min(Number.isFinite(seconds) ? Math.max(seconds, 0) : 0, LONGEST_RETRY_AFTER_S);
  return new HttpStatusError(status, answer.status, retryAfterS);
}

async function* partsOf(answer: Response): AsyncGenerator<Uint8Array> {
  const reader = answer.body?.getReader();
  for (let part = await reader?.read(); part?.value !== undefined; part = await reader?.read()) yield part.value;
}

function continuesAt(answer: Response, offset: number): boolean {
  return answer.status === 206 && (answer.headers.get("Content-Range") ?? "").startsWith(`bytes ${String(offset)}-`);
}

function tooLong(url: string, maxBytes: number): DownloadError {
  return new DownloadError(`${url} is longer than the ${String(maxBytes)} bytes that were announced`);
}

function fill(data: Uint8Array, parts: readonly Uint8Array[]): void {
  let start = 0;
  for (const part of parts) {
    data.set(part, start);
    start += part.length;
  }
}
