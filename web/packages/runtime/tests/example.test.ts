import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { expect, test } from "vitest";

const EXAMPLE = fileURLToPath(new URL("../../../examples/node/search.mjs", import.meta.url));
const BUNDLE = fileURLToPath(new URL("../../../../tests/data/golden_bundle", import.meta.url));

test("the Node example searches a bundle and prints JSON", async () => {
  const { stdout } = await promisify(execFile)(process.execPath, [EXAMPLE, BUNDLE, "gren lmap"]);
  const { products, corrections, proof } = JSON.parse(stdout) as {
    products: { title: string }[];
    corrections: object;
    proof: { overlap: number };
  };
  expect(products[0]?.title).toContain("green lamp");
  expect(corrections).toEqual({ gren: ["green"], lmap: ["lamp"] });
  expect(proof.overlap).toBe(1);
}, 30_000);

test("the Node example says how it is used", async () => {
  await expect(promisify(execFile)(process.execPath, [EXAMPLE])).rejects.toMatchObject({ code: 2 });
});
