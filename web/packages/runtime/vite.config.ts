import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

import { defineConfig, type Plugin } from "vite";

const require = createRequire(import.meta.url);
const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const LITERT = "litert_wasm_compat_internal";
const SQLITE = require.resolve("@sqlite.org/sqlite-wasm/sqlite3.wasm");

/** Puts the two WASM runtimes into `wasm/` beside the modules, where environment.ts looks for them. */
function wasmFiles(): Plugin {
  const litert = require.resolve("@litertjs/core").replace(/dist\/index\.js$/, "wasm/");
  const files: Record<string, string> = {
    [`${LITERT}.js`]: `${litert}${LITERT}.js`,
    [`${LITERT}.wasm`]: `${litert}${LITERT}.wasm`,
    "sqlite3.wasm": SQLITE,
  };
  return {
    name: "wasm-files",
    generateBundle() {
      for (const [name, path] of Object.entries(files)) {
        this.emitFile({ type: "asset", fileName: `wasm/${name}`, source: readFileSync(path) });
      }
    },
  };
}

/** SQLite's package would add its workers and a second copy of the `.wasm` file; the page needs neither. */
function plainSqlite(): Plugin {
  return {
    name: "plain-sqlite",
    enforce: "pre",
    transform(code, id) {
      if (!id.endsWith("sqlite3-bundler-friendly.mjs")) return null;
      return code
        .replaceAll(/new URL\(\s*(["'`])([^"'`]+)\1,\s*import\.meta\.url,?\s*\)/g, "new URL($1wasm/$2$1, document.baseURI)")
        .replaceAll("import.meta.url", "document.baseURI");
    },
  };
}

export default defineConfig({
  base: "./",
  plugins: [wasmFiles(), plainSqlite()],
  resolve: {
    alias: {
      "@sqlite.org/sqlite-wasm": SQLITE.replace("sqlite3.wasm", "sqlite3-bundler-friendly.mjs"),
    },
  },
  // Node's part falls away, so that no bundler of an app looks for modules of Node.
  define: { "globalThis.process": "undefined" },
  build: {
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    rollupOptions: {
      input: {
        pocketrec: here("src/index.ts"),
        conformance: here("conformance/runner.ts"),
      },
      external: [/^node:/],
      preserveEntrySignatures: "exports-only",
      output: {
        entryFileNames: "[name].js",
        chunkFileNames: "[name]-[hash].js",
      },
    },
  },
});
