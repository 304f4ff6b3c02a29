import { execFile } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { expect, test } from "vitest";

const PACKAGE = fileURLToPath(new URL("..", import.meta.url));

test("what an app installs has every file that the exports name, types included", async () => {
  const options = { cwd: PACKAGE };
  const { stdout } = await promisify(execFile)("npm", ["pack", "--dry-run", "--json"], options);
  const [packed] = JSON.parse(stdout) as [{ files: { path: string }[] }];
  const files = packed.files.map(({ path }) => `./${path}`);
  const { exports: entries } = JSON.parse(await readFile(`${PACKAGE}/package.json`, "utf8")) as {
    exports: Record<string, Record<string, string>>;
  };
  for (const [entry, targets] of Object.entries(entries)) {
    expect(Object.keys(targets)[0], entry).toBe("types");
    expect(files, entry).toEqual(expect.arrayContaining(Object.values(targets)));
  }
  expect(files).toContain("./README.md");
  expect(files.filter((path) => /conformance|\/src\/|\/tests\//.test(path))).toEqual([]);
}, 30_000);

test("the build for browsers names no file and no module of Node", async () => {
  const dist = `${PACKAGE}/dist`;
  const modules = (await readdir(dist)).filter((name) => name.endsWith(".js"));
  expect(modules).toContain("pocketrec.js");
  for (const name of modules) {
    const code = await readFile(`${dist}/${name}`, "utf8");
    expect(code.match(/litert_in_node|(?:from|import\()\s*["']node:/g), name).toBeNull();
  }
});
