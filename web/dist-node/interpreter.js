/** The only file that runs a TensorFlow Lite model (edge_runtime/interpreter.py); here by LiteRT.js in WASM. */
import { loadAndCompile, Tensor } from "@litertjs/core";
import { readyLiteRt } from "./environment.js";
import { InputShapeError, ModelLoadError, reasonOf } from "./errors.js";
/** A .tflite file with named signatures of fixed shapes; calls run one after another. */
export class Model {
    name;
    model;
    constructor(name, model) {
        this.name = name;
        this.model = model;
    }
    /**
     * Load the model in `data`; `name` is for errors.
     *
     * @throws ModelLoadError LiteRT cannot be loaded, or refuses the model.
     */
    static async load(name, data) {
        await readyLiteRt();
        try {
            return new Model(name, await loadAndCompile(data, { accelerator: "wasm" }));
        }
        catch (error) {
            throw new ModelLoadError(`LiteRT refuses ${name} (${reasonOf(error)}); get the bundle again`);
        }
    }
    /** Return the fixed shape of an input. */
    inputShape(signature, name) {
        return this.shapeOf(signature, name, "input");
    }
    /** Return the fixed shape of an output. */
    outputShape(signature, name) {
        return this.shapeOf(signature, name, "output");
    }
    /** Return whether `signature` has an output `name`. */
    hasOutput(signature, name) {
        const runner = this.model.signatures[signature];
        return runner?.getOutputDetails().some((detail) => detail.name === name) ?? false;
    }
    /**
     * Run one signature and return copies of its outputs by name.
     *
     * @throws InputShapeError no such signature, or an input has another length than the signature's.
     */
    async run(signature, inputs) {
        const runner = this.runner(signature);
        const given = {};
        let answer = {};
        try {
            for (const [name, value] of Object.entries(inputs)) {
                given[name] = new Tensor(value, this.checkedShape(signature, name, value));
            }
            answer = await runner.run(given);
            return Object.fromEntries(Object.entries(answer).map(([name, tensor]) => [name, tensor.toTypedArray().slice()]));
        }
        finally {
            for (const tensor of [...Object.values(given), ...Object.values(answer)])
                tensor.delete();
        }
    }
    /** Free the model's memory; it answers no more. */
    close() {
        if (!this.model.deleted)
            this.model.delete();
    }
    runner(signature) {
        const runner = this.model.signatures[signature];
        if (runner !== undefined)
            return runner;
        throw new InputShapeError(`${this.name} has no signature ${signature}, it has ${Object.keys(this.model.signatures).join(", ")}; ` +
            "get the bundle again");
    }
    checkedShape(signature, name, value) {
        const shape = this.inputShape(signature, name);
        const length = shape.reduce((product, size) => product * size, 1);
        if (value.length === length)
            return shape;
        throw new InputShapeError(`${this.name}: ${signature}(${name}) takes ${String(length)} values, found ${String(value.length)}`);
    }
    shapeOf(signature, name, side) {
        const runner = this.runner(signature);
        const details = side === "input" ? runner.getInputDetails() : runner.getOutputDetails();
        const found = details.find((detail) => detail.name === name);
        if (found !== undefined)
            return Array.from(found.shape);
        const known = details.map((detail) => detail.name).join(", ");
        throw new InputShapeError(`${this.name} has no ${signature}(${name}), it has ${known}; get the bundle again`);
    }
}
