/** Where this code runs, and how the two WASM runtimes are loaded there: a browser's page or worker, or Node. */

import { loadLiteRt } from "@litertjs/core";
import sqlite3InitModule, { type Sqlite3Static } from "@sqlite.org/sqlite-wasm";

import { ModelLoadError, reasonOf } from "./contract/errors.js";

/**
 * LiteRT without relaxed SIMD, whose rounding differs between processors: the same query gives the same vector everywhere.
 */
export const LITERT_SCRIPT = "litert_wasm_compat_internal.js";
export const SQLITE_WASM = "sqlite3.wasm";

let wasmFolder: string | undefined;
let liteRt: Promise<void> | undefined;
let sqlite: Promise<Sqlite3Static> | undefined;

/** Whether this is Node; the build for browsers knows that it is not, and leaves Node's part out (vite.config.ts). */
export function isNode(): boolean {
  return globalThis.process !== undefined && Boolean(globalThis.process.versions?.node);
}

/**
 * Say where the two `.wasm` files and LiteRT's script lie; a page calls it once, before the first bundle is opened.
 *
 * By default they are looked for in `wasm/` beside this module; in Node, in the installed packages.
 */
export function setWasmFolder(url: string): void {
  wasmFolder = url.endsWith("/") ? url : `${url}/`;
}

function browserFolder(): string {
  return wasmFolder ?? new URL(/* @vite-ignore */ "wasm/", import.meta.url).href;
}

/**
 * Load LiteRT once.
 *
 * @throws ModelLoadError it cannot be loaded here.
 */
export async function readyLiteRt(): Promise<void> {
  liteRt ??= isNode()
    ? import("./inference/litert_in_node.js").then((module) => module.loadLiteRtInNode(LITERT_SCRIPT))
    : quietly(() => loadLiteRtModule(browserFolder() + LITERT_SCRIPT));
  try {
    await liteRt;
  } catch (error) {
    liteRt = undefined;
    throw new ModelLoadError(`LiteRT cannot be loaded (${reasonOf(error)}); use a browser with WebAssembly SIMD`);
  }
}

interface ScriptRunner {
  importScripts?: unknown;
  ModuleFactory?: unknown;
}

/** Import LiteRT's script, which the build made a module, where LiteRT would add it to a page that a worker has not. */
async function loadLiteRtModule(url: string): Promise<void> {
  const runner = globalThis as ScriptRunner;
  const before = runner.importScripts;
  runner.ModuleFactory = ((await import(/* @vite-ignore */ url)) as { default: unknown }).default;
  runner.importScripts = () => undefined;
  try {
    await loadLiteRt(url);
  } finally {
    if (before === undefined) delete runner.importScripts;
    else runner.importScripts = before;
  }
}

/** LiteRT writes its notes to console.error, which it takes hold of while it loads; it gets one that drops them. */
async function quietly(load: () => Promise<unknown>): Promise<void> {
  /* eslint-disable no-console -- it is lent for a moment */
  const { error } = console;
  console.error = (...words: unknown[]) => {
    if (!/^(?:INFO|WARNING|VERBOSE):/.test(String(words[0]))) error.apply(console, words);
  };
  try {
    await load();
  } finally {
    console.error = error;
  }
  /* eslint-enable no-console */
}

/**
 * Load SQLite once.
 *
 * @throws ModelLoadError it cannot be loaded here.
 */
export async function readySqlite(): Promise<Sqlite3Static> {
  // It would warn that a page has no synchronous file system, which nothing here asks for.
  (globalThis as { sqlite3ApiConfig?: object }).sqlite3ApiConfig = { warn: () => undefined };
  const options = { print: () => undefined, printErr: () => undefined };
  const located = isNode() ? options : { ...options, locateFile: (name: string) => browserFolder() + name };
  sqlite ??= (sqlite3InitModule as (settings: object) => Promise<Sqlite3Static>)(located);
  try {
    return await sqlite;
  } catch (error) {
    sqlite = undefined;
    throw new ModelLoadError(`SQLite cannot be loaded (${reasonOf(error)}); use a browser with WebAssembly`);
  }
}
