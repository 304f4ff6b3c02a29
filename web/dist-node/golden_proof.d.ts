/** The golden answers of a bundle: how a device proves that it gives them (edge_runtime/golden_proof.py). */
interface GoldenAnswer {
    readonly vector: readonly number[];
    readonly product_ids: readonly string[];
}
/** The content of `golden.json`. */
export interface Golden {
    readonly min_cosine: number;
    readonly min_overlap: number;
    readonly queries: readonly (GoldenAnswer & {
        readonly text: string;
    })[];
    readonly histories: readonly (GoldenAnswer & {
        readonly history: readonly string[];
    })[];
}
/** What answers the golden queries: a `Recommender`. */
export interface Answering {
    encodeQuery(text: string): Promise<Float32Array>;
    encodeHistory(history: readonly string[]): Promise<Float32Array>;
    search(query: string, options: {
        k: number;
    }): Promise<{
        readonly productIds: readonly string[];
    }>;
    recommend(history: readonly string[], options: {
        k: number;
    }): Promise<{
        readonly productIds: readonly string[];
    }>;
}
/** How near this device is to the golden answers: the worst cosine and the share of expected products found. */
export interface Proof {
    readonly answers: number;
    readonly worstCosine: number;
    readonly overlap: number;
}
/**
 * Read `golden.json`.
 *
 * @throws BundleFormatError the file is malformed.
 */
export declare function readGolden(data: Uint8Array): Golden;
/**
 * Ask every golden query and history and compare.
 *
 * @throws GoldenMismatchError a vector is further away than `min_cosine`, fewer products than `min_overlap` are found,
 *   or there is nothing to compare.
 */
export declare function checkGolden(recommender: Answering, golden: Golden): Promise<Proof>;
export {};
