/** A bundle on a web server: a folder of files, or the channel of a sync server (edge_runtime/http_fetcher.py). */
import { type BundleSource } from "./bundle.js";
import { type Artifact } from "./manifest.js";
/** A whole answer. */
export interface Downloaded {
    readonly data: Uint8Array;
    readonly headers: Headers;
}
/** Files below `url`; nothing longer than was announced is read. */
export declare class HttpSource implements BundleSource {
    readonly name: string;
    /** Which release the server called its bundle when the manifest was read last; null from a plain folder. */
    release: number | null;
    /** Take the bundle whose `manifest.json` lies below `url`. */
    constructor(url: string);
    manifest(): Promise<Uint8Array>;
    file(artifact: Artifact): Promise<Uint8Array>;
}
/**
 * Return the body of an answer of at most `maxBytes`.
 *
 * @throws DownloadError no connection, too slow, or too long.
 * @throws HttpStatusError the server refuses.
 */
export declare function download(url: string, maxBytes: number, cache: RequestCache): Promise<Downloaded>;
