/** A bundle in a folder of this machine, for Node: `import { FolderSource } from "pocketrec-web/node"`. */

import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { type BundleSource } from "../contract/bundle.js";
import { BundleFormatError, reasonOf } from "../contract/errors.js";
import { type Artifact, MANIFEST_FILE } from "../contract/manifest.js";

/** The files of a folder. */
export class FolderSource implements BundleSource {
  constructor(readonly name: string) {}

  async manifest(): Promise<Uint8Array> {
    return this.read(MANIFEST_FILE);
  }

  async file(artifact: Artifact): Promise<Uint8Array> {
    return this.read(artifact.path);
  }

  private async read(name: string): Promise<Uint8Array> {
    const path = join(this.name, name);
    try {
      return new Uint8Array(await readFile(path));
    } catch (error) {
      throw new BundleFormatError(`${this.name} is not a bundle: cannot read ${path} (${reasonOf(error)})`);
    }
  }
}
