import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";

import { defineConfig, type Plugin } from "vite";

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const RUNTIME = here("../../packages/runtime/dist");
const NOT_SERVED = "conformance.js";

/** Puts the built runtime beside the page as it is, and has the browser fetch its modules together. */
function builtRuntime(): Plugin {
  const names = readdirSync(RUNTIME, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name !== NOT_SERVED)
    .map((entry) => relative(RUNTIME, join(entry.parentPath, entry.name)));
  const modules = names.filter((name) => /^[^/]+\.js$/.test(name));
  return {
    name: "built-runtime",
    generateBundle() {
      for (const name of names) {
        this.emitFile({ type: "asset", fileName: name, source: readFileSync(join(RUNTIME, name)) });
      }
    },
    transformIndexHtml: () =>
      modules.map((name) => ({
        tag: "link",
        attrs: { rel: "modulepreload", crossorigin: true, href: `./${name}` },
        injectTo: "head",
      })),
  };
}

export default defineConfig({
  base: "./",
  plugins: [builtRuntime()],
  build: {
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    rollupOptions: {
      input: { index: here("index.html"), sw: here("src/sw.ts") },
      external: ["pocketrec-web"],
      output: {
        paths: { "pocketrec-web": "./pocketrec.js" },
        entryFileNames: (chunk) => (chunk.name === "index" ? "[name]-[hash].js" : "[name].js"),
        chunkFileNames: "[name]-[hash].js",
        assetFileNames: "[name]-[hash][extname]",
      },
    },
  },
});
