import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

import { defineConfig, type Plugin } from "vite";

const require = createRequire(import.meta.url);
const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const LITERT = "litert_wasm_compat_internal";
const SQLITE = require.resolve("@sqlite.org/sqlite-wasm/sqlite3.wasm");

/**
 * Puts the two WASM runtimes into `wasm/` beside the modules, where environment.ts looks for them.
 *
 * LiteRT's script becomes a module: a module worker can import one, and can run no other script.
 */
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
        const source = readFileSync(path);
        this.emitFile({ type: "asset", fileName: `wasm/${name}`, source: name.endsWith(".js") ? asModule(source) : source });
      }
    },
  };
}

function asModule(script: Buffer): string {
  let code = script.toString();
  // By its own address it finds its .wasm file; a module has another word for it.
  for (const ownAddress of ["globalThis.document?.currentScript?.src", "self.location.href"]) {
    if (!code.includes(ownAddress)) throw new Error(`LiteRT's script has no ${ownAddress}; see how it finds its .wasm file`);
    code = code.replace(ownAddress, "import.meta.url");
  }
  return `${code}\nexport default ModuleFactory;\n`;
}

/**
 * SQLite's package would add its workers and a second copy of the `.wasm` file; nothing here needs them.
 *
 * Its file system (OPFS) is switched off by the package's own switch: in a worker it would look for one of those workers.
 */
function plainSqlite(): Plugin {
  return {
    name: "plain-sqlite",
    enforce: "pre",
    transform(code, id) {
      if (!id.endsWith("sqlite3-bundler-friendly.mjs")) return null;
      return code
        .replaceAll(/new URL\(\s*(["'`])([^"'`]+)\1,\s*import\.meta\.url,?\s*\)/g, "new URL($1wasm/$2$1, location.href)")
        .replaceAll("import.meta.url", "location.href")
        .replace("urlParams.has('opfs-disable')", "true");
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
