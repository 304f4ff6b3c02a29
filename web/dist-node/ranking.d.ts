/** Rows with scores: choosing the best, and mixing dense and lexical scores (edge_runtime/ranking.py). */
/** Rows of the catalogue, best first. */
export interface Ranked {
    readonly rows: Int32Array;
    readonly scores: Float32Array;
}
/** What mixing needs besides the scores of the rows. */
export interface FusionContext {
    /** Share of the dense score, 0 … 1. */
    readonly denseWeight: number;
    /** The best cosine of the whole catalogue. */
    readonly bestCosine: number;
    /** The best lexical score of the whole catalogue; 0 when no word matches anything. */
    readonly bestLexical: number;
}
/** Return the `count` best of `rows` by score, ties by row number, so that every device agrees. */
export declare function bestRows(rows: Int32Array, scores: Float32Array, count: number): Ranked;
/** Return the hybrid scores of rows; float32 at every step, as the reference computes them. */
export declare function fuse(cosines: Float32Array, lexical: Float32Array, context: FusionContext): Float32Array;
