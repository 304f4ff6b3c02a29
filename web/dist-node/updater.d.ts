/** Getting a bundle from a server, keeping it, and replacing it when a newer one has proved itself (edge_runtime/updater.py). */
import { type Proof } from "./golden_proof.js";
import { Recommender } from "./recommender.js";
/** What an installation did. */
export interface Installed {
    readonly recommender: Recommender;
    readonly proof: Proof;
    readonly bytesDownloaded: number;
    readonly filesDownloaded: number;
    readonly filesReused: number;
}
/** Follows the bundle at one address. */
export declare class Updater {
    private readonly source;
    private readonly store;
    private constructor();
    /** Follow the bundle whose `manifest.json` lies below `url`. */
    static of(url: string): Promise<Updater>;
    /** Which release of the channel the server had when it was asked last; null when it was not, or is a plain folder. */
    get release(): number | null;
    /** Open the kept bundle, or return null when none is kept, or what is kept is damaged. */
    openKept(): Promise<Recommender | null>;
    /**
     * Get what the server has now; null when it is the bundle `bundleId`. A bundle that does not prove itself is not kept.
     *
     * @throws DownloadError no network, or another answer than agreed.
     * @throws BundleError the new bundle is malformed, or does not give its golden answers here.
     */
    update(bundleId?: string | null): Promise<Installed | null>;
}
/** Open the newest bundle of `url`; without a network, the one that was kept. */
export declare function openNewest(url: string): Promise<Recommender>;
