/** After `vite build`: lists the page's files in the service worker, and hands them, compressed, to the sync server. */

import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { constants, gzipSync } from "node:zlib";

const dist = fileURLToPath(new URL("../dist/", import.meta.url));
const served = fileURLToPath(new URL("../../../../sync_server/storefront_files/", import.meta.url));

const files = readdirSync(dist, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => relative(dist, join(entry.parentPath, entry.name)))
  .sort();

const worker = join(dist, "sw.js");
const digest = createHash("sha256");
for (const name of files) digest.update(name).update(readFileSync(join(dist, name)));
const precached = files.filter((name) => name !== "sw.js");
const code = readFileSync(worker, "utf8")
  .replace(/["']__FILES__["']/, JSON.stringify(precached))
  .replace(/["']__VERSION__["']/, JSON.stringify(digest.digest("hex").slice(0, 16)));
if (code.includes("__FILES__") || code.includes("__VERSION__")) throw new Error("sw.js was not filled in");
writeFileSync(worker, code);

const arriving = served.replace(/\/$/, ".new");
rmSync(arriving, { recursive: true, force: true });
for (const name of files) {
  const path = join(arriving, `${name}.gz`);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, gzipSync(readFileSync(join(dist, name)), { level: constants.Z_BEST_COMPRESSION }));
}
rmSync(served, { recursive: true, force: true });
renameSync(arriving, served.replace(/\/$/, ""));
