/** Text and histories -> unit vectors, by the bundle's tokenizer and `encoder.tflite` (edge_runtime/encoder.py). */
import { Tokenizer } from "@huggingface/tokenizers";
import { type Bundle } from "./bundle.js";
/** What a history asks for. */
export interface HistoryQuery {
    /** [dim], unit length, or zero for an empty history. */
    readonly vector: Float32Array;
    /** What each of the newest n items adds to the score of its own product, newest last. */
    readonly repeats: Float32Array;
}
/** Return a vector of length 1; a zero vector, or one that is not finite, becomes zero. */
export declare function unit(vector: ArrayLike<number>): Float32Array;
/** Return the length of a vector, rounded to float32. */
export declare function lengthOf(vector: ArrayLike<number>): number;
/** Return whether a vector is zero. */
export declare function isZero(vector: Float32Array): boolean;
/** The signatures of `encoder.tflite`. */
export declare class Encoder {
    private readonly model;
    private readonly tokenizer;
    private readonly bundle;
    private readonly learnedRepeats;
    private constructor();
    /**
     * Load the model and the tokenizer of `bundle`.
     *
     * @throws ModelLoadError the interpreter refuses the model.
     * @throws BundleFormatError the tokenizer is malformed, or the model is not what the manifest says.
     * @throws InputShapeError a signature is missing.
     */
    static load(bundle: Bundle): Promise<Encoder>;
    /** How many items of a history the model reads; the newest count. */
    get historyItems(): number;
    /** Return the token ids of a text, as the model reads them. */
    tokenIds(text: string): number[];
    /** Return the unit vector of a query; zero when it has no token. */
    encodeQuery(text: string): Promise<Float32Array>;
    /** Return the unit vector of an item's text; zero when it has no token. */
    encodeItem(text: string): Promise<Float32Array>;
    /**
     * Return what a history asks for; nothing, and no model is run, when it is empty.
     *
     * @param items unit rows, newest last; only the last `historyItems` are read.
     */
    readHistory(items: readonly Float32Array[]): Promise<HistoryQuery>;
    /** Free the model's memory. */
    close(): void;
    private encode;
}
/** Read a tokenizer in the format of Hugging Face; it neither cuts nor pads, whatever the file says. */
export declare function loadTokenizer(data: Uint8Array): Tokenizer;
