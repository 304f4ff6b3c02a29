/** The only file that runs a TensorFlow Lite model; here by LiteRT.js in WASM. */

import { type CompiledModel, loadAndCompile, type SignatureRunner, Tensor } from "@litertjs/core";

import { InputShapeError, ModelLoadError, reasonOf } from "../contract/errors.js";
import { readyLiteRt } from "../environment.js";

/** What a model takes and gives. */
export type Values = Float32Array | Int32Array;

/** A .tflite file with named signatures of fixed shapes; calls run one after another. */
export class Model {
  private constructor(
    private readonly name: string,
    private readonly model: CompiledModel,
  ) {}

  /**
   * Load the model in `data`; `name` is for errors.
   *
   * @throws ModelLoadError LiteRT cannot be loaded, or refuses the model.
   */
  static async load(name: string, data: Uint8Array): Promise<Model> {
    await readyLiteRt();
    try {
      return new Model(name, await loadAndCompile(data, { accelerator: "wasm" }));
    } catch (error) {
      throw new ModelLoadError(`LiteRT refuses ${name} (${reasonOf(error)}); get the bundle again`);
    }
  }

  /** Return the fixed shape of an input. */
  inputShape(signature: string, name: string): number[] {
    return this.shapeOf(signature, name, "input");
  }

  /** Return the fixed shape of an output. */
  outputShape(signature: string, name: string): number[] {
    return this.shapeOf(signature, name, "output");
  }

  /** Return whether `signature` has an output `name`. */
  hasOutput(signature: string, name: string): boolean {
    const runner = this.model.signatures[signature];
    return runner?.getOutputDetails().some((detail) => detail.name === name) ?? false;
  }

  /**
   * Run one signature and return copies of its outputs by name.
   *
   * @throws InputShapeError no such signature, or an input has another length than the signature's.
   */
  async run(signature: string, inputs: Readonly<Record<string, Values>>): Promise<Record<string, Values>> {
    const runner = this.runner(signature);
    const given: Record<string, Tensor> = {};
    let answer: Record<string, Tensor> = {};
    try {
      for (const [name, value] of Object.entries(inputs)) {
        given[name] = new Tensor(value, this.checkedShape(signature, name, value));
      }
      answer = await runner.run(given);
      return Object.fromEntries(
        Object.entries(answer).map(([name, tensor]) => [name, tensor.toTypedArray().slice() as Values]),
      );
    } finally {
      for (const tensor of [...Object.values(given), ...Object.values(answer)]) tensor.delete();
    }
  }

  /** Whether the model's memory was freed. */
  get isClosed(): boolean {
    return this.model.deleted;
  }

  /** Free the model's memory; it answers no more. */
  close(): void {
    if (!this.model.deleted) this.model.delete();
  }

  private runner(signature: string): SignatureRunner {
    const runner = this.model.signatures[signature];
    if (runner !== undefined) return runner;
    throw new InputShapeError(
      `${this.name} has no signature ${signature}, it has ${Object.keys(this.model.signatures).join(", ")}; ` +
        "get the bundle again",
    );
  }

  private checkedShape(signature: string, name: string, value: Values): number[] {
    const shape = this.inputShape(signature, name);
    const length = shape.reduce((product, size) => product * size, 1);
    if (value.length === length) return shape;
    throw new InputShapeError(
      `${this.name}: ${signature}(${name}) takes ${String(length)} values, found ${String(value.length)}`,
    );
  }

  private shapeOf(signature: string, name: string, side: "input" | "output"): number[] {
    const runner = this.runner(signature);
    const details = side === "input" ? runner.getInputDetails() : runner.getOutputDetails();
    const found = details.find((detail) => detail.name === name);
    if (found !== undefined) return Array.from(found.shape);
    const known = details.map((detail) => detail.name).join(", ");
    throw new InputShapeError(`${this.name} has no ${signature}(${name}), it has ${known}; get the bundle again`);
  }
}
