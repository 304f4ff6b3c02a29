/** Vectors -> rows: the int8 index finds candidates, the float16 vectors give the exact order. */

import { type Bundle } from "../contract/bundle.js";
import { BundleFormatError, ModelLoadError } from "../contract/errors.js";
import { ITEM_VECTORS_FILE, VECTOR_INDEX_FILE } from "../contract/manifest.js";
import { isZero } from "../inference/encoder.js";
import { Model } from "../inference/interpreter.js";
import { bestRows, type Ranked } from "./ranking.js";

const SIGNATURE = "top";

/** Which rows may be returned: 1 or 0 for each row of the catalogue. */
export type Mask = Uint8Array;

/** The item vectors of a bundle. */
export class Catalogue {
  private constructor(
    private readonly vectors: Uint16Array,
    private readonly index: Model | null,
    private readonly dim: number,
    private readonly candidates: number,
  ) {}

  /**
   * Read the vectors and load the index; where the interpreter refuses it, searches scan all vectors.
   *
   * @throws BundleFormatError the vectors or the index are not what the manifest says.
   */
  static async load(bundle: Bundle): Promise<Catalogue> {
    const { catalogue, space } = bundle.manifest;
    const vectors = readVectors(bundle.take(ITEM_VECTORS_FILE), catalogue.products, space.dim);
    let index: Model | null = null;
    try {
      index = await Model.load(VECTOR_INDEX_FILE, bundle.take(VECTOR_INDEX_FILE));
    } catch (error) {
      if (!(error instanceof ModelLoadError)) throw error;
    }
    try {
      if (index !== null) checkIndex(index, space.dim, catalogue.candidates);
    } catch (error) {
      index?.close();
      throw error;
    }
    return new Catalogue(vectors, index, space.dim, catalogue.candidates);
  }

  /** How many rows there are. */
  get length(): number {
    return this.vectors.length / this.dim;
  }

  /** Whether the int8 index runs here; without it every search is an exact scan. */
  get hasIndex(): boolean {
    return this.index !== null;
  }

  /** Return the index's candidates in its own order, with approximate scores; without an index, the exact ones. */
  async propose(query: Float32Array): Promise<Ranked> {
    if (this.index === null || isZero(query)) return this.scan(query, this.candidates, null);
    const found = await this.index.run(SIGNATURE, { query });
    const rows = found["rows"] as Int32Array;
    if (rows.some((row) => row < 0 || row >= this.length)) {
      throw new BundleFormatError("the vector index names a row that does not exist; get the bundle again");
    }
    return { rows, scores: found["scores"] as Float32Array };
  }

  /** Return proposed rows by exact cosine with `query`, best first, ties by row. */
  rescore(query: Float32Array, proposed: Ranked): Ranked {
    return bestRows(proposed.rows, this.cosines(query, proposed.rows), proposed.rows.length);
  }

  /**
   * Return the rows nearest to `query` by exact cosine, best first, ties by row.
   *
   * @param query [dim], unit length.
   * @param count how many rows; fewer when fewer are eligible.
   * @param eligible which rows may be returned; null for all.
   * @param nearest what `rescore` gave for this query, when it was asked already.
   */
  async top(query: Float32Array, count: number, eligible: Mask | null = null, nearest?: Ranked): Promise<Ranked> {
    const indexed = this.index !== null && !isZero(query);
    if (count <= this.candidates && (nearest !== undefined || indexed)) {
      const found = nearest ?? this.rescore(query, await this.propose(query));
      const places = [...found.rows.keys()].filter((at) => eligible === null || eligible[found.rows[at] as number] === 1);
      if (places.length >= count) {
        const best = places.slice(0, count);
        const rows = Int32Array.from(best, (at) => found.rows[at] as number);
        return { rows, scores: Float32Array.from(best, (at) => found.scores[at] as number) };
      }
    }
    return this.scan(query, count, eligible);
  }

  /** Return the exact cosines of `query` ([dim], unit length) with some rows. */
  cosines(query: Float32Array, rows: Int32Array): Float32Array {
    const floats = float16Values();
    const { dim, vectors } = this;
    const scores = new Float32Array(rows.length);
    for (let place = 0; place < rows.length; place++) {
      const start = (rows[place] as number) * dim;
      let sum = 0;
      for (let at = 0; at < dim; at++) sum += (floats[vectors[start + at] as number] as number) * (query[at] as number);
      scores[place] = sum;
    }
    return scores;
  }

  /** Return the stored vector of one row, [dim]. */
  vectorOf(row: number): Float32Array {
    const floats = float16Values();
    const stored = this.vectors.subarray(row * this.dim, (row + 1) * this.dim);
    return Float32Array.from(stored, (value) => floats[value] as number);
  }

  /** Free the index's memory. */
  close(): void {
    this.index?.close();
  }

  private scan(query: Float32Array, count: number, eligible: Mask | null): Ranked {
    const rows = rowsOf(eligible, this.length);
    return bestRows(rows, this.cosines(query, rows), count);
  }
}

/** Return the rows of a mask, or all of `length`, rising. */
export function rowsOf(mask: Mask | null, length: number): Int32Array {
  if (mask === null) return Int32Array.from({ length }, (_, row) => row);
  const rows: number[] = [];
  mask.forEach((one, row) => {
    if (one === 1) rows.push(row);
  });
  return Int32Array.from(rows);
}

function checkIndex(index: Model, dim: number, candidates: number): void {
  const found = [
    index.inputShape(SIGNATURE, "query"),
    index.outputShape(SIGNATURE, "scores"),
    index.outputShape(SIGNATURE, "rows"),
  ];
  const expected = [
    [1, dim],
    [1, candidates],
    [1, candidates],
  ];
  if (JSON.stringify(found) !== JSON.stringify(expected)) {
    throw new BundleFormatError(
      `${VECTOR_INDEX_FILE} has shapes ${JSON.stringify(found)}, the manifest says ${JSON.stringify(expected)}; ` +
        "get the bundle again",
    );
  }
}

/** Read a `.npy` file of version 1.0 that holds float16 [products, dim] in C order; the values stay where they are. */
function readVectors(data: Uint8Array, products: number, dim: number): Uint16Array {
  const refuse = (found: string): never => {
    throw new BundleFormatError(
      `${ITEM_VECTORS_FILE} holds ${found}, expected float16 (${String(products)}, ${String(dim)}); get the bundle again`,
    );
  };
  const magic = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0];
  if (data.length < 10 || magic.some((byte, place) => data[place] !== byte)) refuse("no array of version 1.0");
  const start = 10 + (data[8] as number) + 256 * (data[9] as number);
  const header = new TextDecoder("latin1").decode(data.subarray(10, start));
  const shape = /'shape': \((\d+), (\d+)\)/.exec(header);
  const fits = Number(shape?.[1]) === products && Number(shape?.[2]) === dim && products * dim > 0;
  if (!fits || !/'descr': '<f2'/.test(header) || !/'fortran_order': False/.test(header)) refuse(header.trim());
  if (data.length !== start + products * dim * 2) refuse(`${String(data.length)} bytes`);
  const offset = data.byteOffset + start;
  if (offset % 2 === 0) return new Uint16Array(data.buffer as ArrayBuffer, offset, products * dim);
  return new Uint16Array(data.slice(start).buffer);
}

let floats: Float32Array | undefined;

/** Return the float32 value of every float16, by its bits. */
function float16Values(): Float32Array {
  floats ??= Float32Array.from({ length: 65_536 }, (_, bits) => {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 0x1f;
    const fraction = bits & 0x3ff;
    if (exponent === 0x1f) return fraction ? NaN : sign * Infinity;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  });
  return floats;
}
