/** An opened bundle: its manifest and the verified bytes of its files, wherever they come from. */
import { BundleFormatError } from "./errors.js";
import { checkArtifact, decodeManifest, DEVICE_FILES, sha256Of } from "./manifest.js";
/** A bundle whose files fit its manifest. `bundleId` is the SHA-256 of the manifest and so names every byte of it. */
export class Bundle {
    manifest;
    bundleId;
    files;
    constructor(manifest, bundleId, files) {
        this.manifest = manifest;
        this.bundleId = bundleId;
        this.files = files;
    }
    /** Return the bytes of the artifact `name`. */
    file(name) {
        const data = this.files.get(name);
        if (data === undefined)
            throw new BundleFormatError(`the bundle has no file ${name}; build the bundle again`);
        return data;
    }
}
/**
 * Read the files that a device needs and compare each with its length and SHA-256.
 *
 * @throws BundleError the manifest is malformed or too new, or a file is not the one that it names.
 * @throws DownloadError the source cannot be reached.
 */
export async function openBundle(source) {
    const data = await source.manifest();
    const manifest = decodeManifest(data, `${source.name}/manifest.json`);
    const wanted = manifest.artifacts.filter((artifact) => DEVICE_FILES.includes(artifact.path));
    const files = await Promise.all(wanted.map(async (artifact) => {
        const bytes = await source.file(artifact);
        await checkArtifact(artifact, bytes);
        return [artifact.path, bytes];
    }));
    return new Bundle(manifest, await sha256Of(data), new Map(files));
}
