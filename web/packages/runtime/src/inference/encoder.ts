/** Text and histories -> unit vectors, by the bundle's tokenizer and `encoder.tflite`. */

import { Tokenizer } from "@huggingface/tokenizers";

import { type Bundle } from "../contract/bundle.js";
import { BundleFormatError, reasonOf } from "../contract/errors.js";
import { ENCODER_FILE, type Manifest, TOKENIZER_FILE } from "../contract/manifest.js";
import { normalizeText } from "../contract/text.js";
import { Model } from "./interpreter.js";

/** What a history asks for. */
export interface HistoryQuery {
  /** [dim], unit length, or zero for an empty history. */
  readonly vector: Float32Array;
  /** What each of the newest n items adds to the score of its own product, newest last. */
  readonly repeats: Float32Array;
}

/** Return a vector of length 1; a zero vector, or one that is not finite, becomes zero. */
export function unit(vector: ArrayLike<number>): Float32Array {
  const norm = lengthOf(vector);
  if (norm === 0 || !Number.isFinite(norm)) return new Float32Array(vector.length);
  return Float32Array.from(vector, (value) => value / norm);
}

/** Return the length of a vector, rounded to float32. */
export function lengthOf(vector: ArrayLike<number>): number {
  let sum = 0;
  for (let place = 0; place < vector.length; place++) sum += (vector[place] as number) ** 2;
  return Math.fround(Math.sqrt(sum));
}

/** Return whether a vector is zero. */
export function isZero(vector: Float32Array): boolean {
  return vector.every((value) => value === 0);
}

/** The signatures of `encoder.tflite`. */
export class Encoder {
  private constructor(
    private readonly model: Model,
    private readonly tokenizer: Tokenizer,
    private readonly manifest: Manifest,
    private readonly learnedRepeats: boolean,
  ) {}

  /**
   * Load the model and the tokenizer of `bundle`.
   *
   * @throws ModelLoadError the interpreter refuses the model.
   * @throws BundleFormatError the tokenizer is malformed, or the model is not what the manifest says.
   * @throws InputShapeError a signature is missing.
   */
  static async load(bundle: Bundle): Promise<Encoder> {
    const tokenizer = loadTokenizer(bundle.take(TOKENIZER_FILE));
    const model = await Model.load(ENCODER_FILE, bundle.take(ENCODER_FILE));
    try {
      checkSignatures(model, bundle.manifest);
      return new Encoder(model, tokenizer, bundle.manifest, model.hasOutput("encode_history", "repeat"));
    } catch (error) {
      model.close();
      throw error;
    }
  }

  /** How many items of a history the model reads; the newest count. */
  get historyItems(): number {
    return this.manifest.encoder.historyItems;
  }

  /** Return the token ids of a text, as the model reads them. */
  tokenIds(text: string): number[] {
    return this.tokenizer.encode(normalizeText(text), { add_special_tokens: false }).ids;
  }

  /** Return the unit vector of a query; zero when it has no token. */
  async encodeQuery(text: string): Promise<Float32Array> {
    return this.encode("encode_query", text, this.manifest.encoder.queryTokens);
  }

  /** Return the unit vector of an item's text; zero when it has no token. */
  async encodeItem(text: string): Promise<Float32Array> {
    return this.encode("encode_item", text, this.manifest.encoder.itemTokens);
  }

  /**
   * Return what a history asks for; nothing, and no model is run, when it is empty.
   *
   * @param items unit rows, newest last; only the last `historyItems` are read.
   */
  async readHistory(items: readonly Float32Array[]): Promise<HistoryQuery> {
    const length = this.historyItems;
    const dim = this.manifest.space.dim;
    const newest = items.slice(-length);
    if (newest.length === 0) return { vector: new Float32Array(dim), repeats: new Float32Array(0) };
    const padded = new Float32Array(length * dim);
    const mask = new Float32Array(length);
    newest.forEach((row, place) => {
      const slot = length - newest.length + place;
      padded.set(row, slot * dim);
      mask[slot] = 1;
    });
    const outputs = await this.model.run("encode_history", { items: padded, mask });
    const raw = outputs["vector"] as Float32Array;
    const norm = lengthOf(raw);
    const repeats = new Float32Array(newest.length);
    if (this.learnedRepeats && norm > 0) {
      const slots = (outputs["repeat"] as Float32Array).subarray(length - newest.length);
      slots.forEach((value, place) => (repeats[place] = value / norm));
    }
    return { vector: unit(raw), repeats };
  }

  /** Free the model's memory. */
  close(): void {
    this.model.close();
  }

  private async encode(signature: string, text: string, length: number): Promise<Float32Array> {
    const tokens = this.tokenIds(text).slice(0, length);
    if (tokens.length === 0) return new Float32Array(this.manifest.space.dim);
    const ids = new Int32Array(length);
    ids.set(tokens);
    const outputs = await this.model.run(signature, { ids });
    return unit(outputs["vector"] as Float32Array);
  }
}

function checkSignatures(model: Model, { encoder: spec, space }: Manifest): void {
  const expected: [string, string, number[]][] = [
    ["encode_query", "ids", [1, spec.queryTokens]],
    ["encode_item", "ids", [1, spec.itemTokens]],
    ["encode_history", "items", [1, spec.historyItems, space.dim]],
    ["encode_history", "mask", [1, spec.historyItems]],
  ];
  for (const [signature, name, shape] of expected) {
    const found = model.inputShape(signature, name);
    const width = model.outputShape(signature, "vector").at(-1);
    if (String(found) !== String(shape) || width !== space.dim) {
      throw new BundleFormatError(
        `${ENCODER_FILE}: ${signature}(${name}) is [${String(found)}] -> ${String(width)}, the manifest says ` +
          `[${String(shape)}] -> ${String(space.dim)}; get the bundle again`,
      );
    }
  }
}

interface TokenizerFile {
  truncation?: unknown;
  padding?: unknown;
  model?: { type?: string; vocab?: Record<string, number>; unk_token?: string };
}

/** Read a tokenizer in the format of Hugging Face; it neither cuts nor pads, whatever the file says. */
export function loadTokenizer(data: Uint8Array): Tokenizer {
  try {
    const file = JSON.parse(new TextDecoder().decode(data)) as TokenizerFile;
    // Cutting and padding are the runtime's, whatever the file says of them.
    file.truncation = null;
    file.padding = null;
    if (file.model?.type === "WordLevel") file.model = wordPieces(file.model);
    return new Tokenizer(file, {});
  } catch (error) {
    throw new BundleFormatError(`${TOKENIZER_FILE} is not a tokenizer (${reasonOf(error)}); get the bundle again`);
  }
}

/** The library reads no WordLevel model; word pieces none of which goes on inside a word say the same. */
function wordPieces(model: NonNullable<TokenizerFile["model"]>): NonNullable<TokenizerFile["model"]> {
  const prefix = "##";
  if (Object.keys(model.vocab ?? {}).some((piece) => piece.startsWith(prefix))) {
    throw new BundleFormatError(`a vocabulary of whole words has pieces that begin with ${prefix}`);
  }
  const settings = { continuing_subword_prefix: prefix, max_input_chars_per_word: 1_000 };
  return { ...model, ...settings, type: "WordPiece" };
}
