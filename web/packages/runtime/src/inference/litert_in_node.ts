/** LiteRT.js is made for browsers; this lends it what it looks for there, so that it also runs in Node. */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname } from "node:path";
import { runInThisContext } from "node:vm";

import { loadLiteRt } from "@litertjs/core";

type Script = (module: { exports: unknown }, require: NodeJS.Require, filename: string, folder: string) => void;

interface BrowserNames {
  self?: unknown;
  importScripts?: (path: string) => void;
  ModuleFactory?: unknown;
}

/** Load the script `name` of the installed package `@litertjs/core`. */
export async function loadLiteRtInNode(name: string): Promise<void> {
  const require = createRequire(import.meta.url);
  const path = require.resolve("@litertjs/core").replace(/dist\/index\.js$/, `wasm/${name}`);
  const names = globalThis as BrowserNames;
  names.self ??= globalThis;
  names.importScripts = (script) => {
    const module = { exports: {} as unknown };
    const wrapped = `(function (module, require, __filename, __dirname) { const exports = module.exports; ${readFileSync(script, "utf8")}\n})`;
    (runInThisContext(wrapped, { filename: script }) as Script)(module, require, script, dirname(script));
    names.ModuleFactory = module.exports;
  };
  /* eslint-disable no-console -- it is silenced, not written to */
  const { warn, log, error } = console;
  // It reports its accelerators, and that Node has no GPU, on the console; standard output belongs to the program.
  console.warn = console.log = console.error = () => undefined;
  try {
    await loadLiteRt(path);
  } finally {
    Object.assign(console, { warn, log, error });
    /* eslint-enable no-console */
    delete names.importScripts;
  }
}
