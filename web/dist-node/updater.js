/** Getting a bundle from a server, keeping it, and replacing it when a newer one has proved itself (edge_runtime/updater.py). */
import { openBundle } from "./bundle.js";
import { BundleStore } from "./bundle_store.js";
import { DownloadError } from "./errors.js";
import {} from "./golden_proof.js";
import { HttpSource } from "./http_source.js";
import { sha256Of } from "./manifest.js";
import { Recommender } from "./recommender.js";
/** Follows the bundle at one address. */
export class Updater {
    source;
    store;
    constructor(source, store) {
        this.source = source;
        this.store = store;
    }
    /** Follow the bundle whose `manifest.json` lies below `url`. */
    static async of(url) {
        const address = new URL(url, globalThis.location?.href).href;
        return new Updater(new HttpSource(address), await BundleStore.open(address));
    }
    /** Which release of the channel the server had when it was asked last; null when it was not, or is a plain folder. */
    get release() {
        return this.source.release;
    }
    /** Open the kept bundle, or return null when none is kept, or what is kept is damaged. */
    async openKept() {
        if (this.store === null || (await this.store.installed()) === null)
            return null;
        try {
            return await Recommender.load(await openBundle(this.store));
        }
        catch {
            return null;
        }
    }
    /**
     * Get what the server has now; null when it is the bundle `bundleId`. A bundle that does not prove itself is not kept.
     *
     * @throws DownloadError no network, or another answer than agreed.
     * @throws BundleError the new bundle is malformed, or does not give its golden answers here.
     */
    async update(bundleId = null) {
        const manifest = await this.source.manifest();
        if (bundleId !== null && (await sha256Of(manifest)) === bundleId)
            return null;
        const arriving = new ArrivingBundle(manifest, this.source, this.store);
        const recommender = await Recommender.load(await openBundle(arriving));
        try {
            const proof = await recommender.prove();
            await this.store?.install(manifest);
            const { bytesDownloaded, filesDownloaded, filesReused } = arriving;
            return { recommender, proof, bytesDownloaded, filesDownloaded, filesReused };
        }
        catch (error) {
            recommender.close();
            throw error;
        }
    }
}
/** Open the newest bundle of `url`; without a network, the one that was kept. */
export async function openNewest(url) {
    const updater = await Updater.of(url);
    const kept = await updater.openKept();
    try {
        const installed = await updater.update(kept?.bundle.bundleId ?? null);
        if (installed === null && kept !== null)
            return kept;
        if (installed !== null) {
            kept?.close();
            return installed.recommender;
        }
    }
    catch (error) {
        if (kept !== null)
            return kept;
        throw error;
    }
    throw new DownloadError(`${url} has no bundle; publish one`);
}
/** Takes each file from the store when it is there, and else from the server, once. */
class ArrivingBundle {
    data;
    source;
    store;
    name;
    bytesDownloaded = 0;
    filesDownloaded = 0;
    filesReused = 0;
    constructor(data, source, store) {
        this.data = data;
        this.source = source;
        this.store = store;
        this.name = source.name;
    }
    async manifest() {
        return Promise.resolve(this.data);
    }
    async file(artifact) {
        const kept = await this.store?.read(artifact);
        if (kept != null) {
            this.filesReused += 1;
            return kept;
        }
        const data = await this.source.file(artifact);
        this.bytesDownloaded += data.length;
        this.filesDownloaded += 1;
        if ((await sha256Of(data)) === artifact.sha256)
            await this.store?.keep(artifact, data);
        return data;
    }
}
