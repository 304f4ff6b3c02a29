/** A server of files behind `fetch`: it counts what is asked for, gives parts, and can break off or fall silent. */

import { vi } from "vitest";

/** What was asked for. */
export interface Asked {
  readonly path: string;
  readonly range: string | null;
}

/** Files by their path; `fault` changes an answer. */
export class FileServer {
  readonly files = new Map<string, Uint8Array>();
  readonly asked: Asked[] = [];
  givesParts = true;
  /** After how many bytes the next answer of a path ends, and how. */
  readonly faults = new Map<string, { readonly after: number; readonly how: "breaks" | "ends" | "stalls" }>();

  /** Answer every `fetch` of this test. */
  install(): this {
    vi.stubGlobal("fetch", async (url: string | URL, options: RequestInit = {}) => this.answer(String(url), options));
    return this;
  }

  /** Return how often a path was asked for. */
  count(path: string): number {
    return this.asked.filter((one) => one.path === path).length;
  }

  private async answer(url: string, options: RequestInit): Promise<Response> {
    const path = new URL(url).pathname;
    const range = new Headers(options.headers).get("Range");
    this.asked.push({ path, range });
    const data = this.files.get(path);
    if (data === undefined) return Promise.resolve(new Response("no such file", { status: 404 }));
    const start = this.givesParts && range !== null ? Number(/^bytes=(\d+)-$/.exec(range)?.[1]) : 0;
    const headers: Record<string, string> = {};
    if (start > 0) headers["Content-Range"] = `bytes ${String(start)}-${String(data.length - 1)}/${String(data.length)}`;
    const body = this.body(path, data.subarray(start), options.signal ?? null);
    return Promise.resolve(new Response(body, { status: start > 0 ? 206 : 200, headers }));
  }

  private body(path: string, data: Uint8Array, signal: AbortSignal | null): ReadableStream<Uint8Array> {
    const fault = this.faults.get(path);
    this.faults.delete(path);
    return new ReadableStream<Uint8Array>({
      start(controller) {
        signal?.addEventListener("abort", () => controller.error(signal.reason));
        controller.enqueue(data.slice(0, fault?.after ?? data.length));
        if (fault?.how === "breaks") controller.error(new TypeError("network error"));
        else if (fault?.how !== "stalls") controller.close();
      },
    });
  }
}
