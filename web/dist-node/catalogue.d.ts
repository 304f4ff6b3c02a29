/** Vectors -> rows: the int8 layer finds candidates, the float16 vectors give the exact order (edge_runtime/catalogue.py). */
import { type Bundle } from "./bundle.js";
import { type Ranked } from "./ranking.js";
/** Which rows may be returned: 1 or 0 for each row of the catalogue. */
export type Mask = Uint8Array;
/** The item vectors of a bundle. */
export declare class Catalogue {
    private readonly vectors;
    private readonly layer;
    private readonly dim;
    private readonly candidates;
    private constructor();
    /**
     * Read the vectors and load the layer; a layer that the interpreter refuses gives way to an exact scan.
     *
     * @throws BundleFormatError the vectors or the layer are not what the manifest says.
     */
    static load(bundle: Bundle): Promise<Catalogue>;
    /** How many rows there are. */
    get length(): number;
    /** Whether the int8 layer runs here; without it every search is an exact scan. */
    get hasLayer(): boolean;
    /** Return the layer's candidates in its own order, with its approximate scores; exact ones where it cannot help. */
    propose(query: Float32Array): Promise<Ranked>;
    /** Return proposed rows by exact cosine with `query`, best first, ties by row. */
    rescore(query: Float32Array, proposed: Ranked): Ranked;
    /**
     * Return the rows nearest to `query` by exact cosine, best first, ties by row.
     *
     * @param query [dim], unit length.
     * @param count how many rows; fewer when fewer are eligible.
     * @param eligible which rows may be returned; null for all.
     * @param nearest what `rescore` gave for this query, when it was asked already.
     */
    top(query: Float32Array, count: number, eligible?: Mask | null, nearest?: Ranked): Promise<Ranked>;
    /** Return the exact cosines of `query` ([dim], unit length) with some rows. */
    cosines(query: Float32Array, rows: Int32Array): Float32Array;
    /** Return the stored vector of one row, [dim]. */
    vectorOf(row: number): Float32Array;
    /** Free the layer's memory. */
    close(): void;
    private scan;
}
/** Return the rows of a mask, or all of `length`, rising. */
export declare function rowsOf(mask: Mask | null, length: number): Int32Array;
