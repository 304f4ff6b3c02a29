/** The only file that runs a TensorFlow Lite model (edge_runtime/interpreter.py); here by LiteRT.js in WASM. */
/** What a model takes and gives. */
export type Values = Float32Array | Int32Array;
/** A .tflite file with named signatures of fixed shapes; calls run one after another. */
export declare class Model {
    private readonly name;
    private readonly model;
    private constructor();
    /**
     * Load the model in `data`; `name` is for errors.
     *
     * @throws ModelLoadError LiteRT cannot be loaded, or refuses the model.
     */
    static load(name: string, data: Uint8Array): Promise<Model>;
    /** Return the fixed shape of an input. */
    inputShape(signature: string, name: string): number[];
    /** Return the fixed shape of an output. */
    outputShape(signature: string, name: string): number[];
    /** Return whether `signature` has an output `name`. */
    hasOutput(signature: string, name: string): boolean;
    /**
     * Run one signature and return copies of its outputs by name.
     *
     * @throws InputShapeError no such signature, or an input has another length than the signature's.
     */
    run(signature: string, inputs: Readonly<Record<string, Values>>): Promise<Record<string, Values>>;
    /** Free the model's memory; it answers no more. */
    close(): void;
    private runner;
    private checkedShape;
    private shapeOf;
}
