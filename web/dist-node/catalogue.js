/** Vectors -> rows: the int8 layer finds candidates, the float16 vectors give the exact order (edge_runtime/catalogue.py). */
import {} from "./bundle.js";
import { isZero } from "./encoder.js";
import { BundleFormatError, ModelLoadError } from "./errors.js";
import { Model } from "./interpreter.js";
import { CATALOGUE_LAYER_FILE, ITEM_VECTORS_FILE } from "./manifest.js";
import { bestRows } from "./ranking.js";
const SIGNATURE = "top";
/** The item vectors of a bundle. */
export class Catalogue {
    vectors;
    layer;
    dim;
    candidates;
    constructor(vectors, layer, dim, candidates) {
        this.vectors = vectors;
        this.layer = layer;
        this.dim = dim;
        this.candidates = candidates;
    }
    /**
     * Read the vectors and load the layer; a layer that the interpreter refuses gives way to an exact scan.
     *
     * @throws BundleFormatError the vectors or the layer are not what the manifest says.
     */
    static async load(bundle) {
        const { catalogue, space } = bundle.manifest;
        const vectors = readVectors(bundle.file(ITEM_VECTORS_FILE), catalogue.products, space.dim);
        let layer = null;
        try {
            layer = await Model.load(CATALOGUE_LAYER_FILE, bundle.file(CATALOGUE_LAYER_FILE));
        }
        catch (error) {
            if (!(error instanceof ModelLoadError))
                throw error;
        }
        if (layer !== null)
            checkLayer(layer, space.dim, catalogue.candidates);
        return new Catalogue(vectors, layer, space.dim, catalogue.candidates);
    }
    /** How many rows there are. */
    get length() {
        return this.vectors.length / this.dim;
    }
    /** Whether the int8 layer runs here; without it every search is an exact scan. */
    get hasLayer() {
        return this.layer !== null;
    }
    /** Return the layer's candidates in its own order, with its approximate scores; exact ones where it cannot help. */
    async propose(query) {
        if (this.layer === null || isZero(query))
            return this.scan(query, this.candidates, null);
        const found = await this.layer.run(SIGNATURE, { query });
        const rows = found["rows"];
        if (rows.some((row) => row < 0 || row >= this.length)) {
            throw new BundleFormatError("the catalogue's layer names a row that does not exist; get the bundle again");
        }
        return { rows, scores: found["scores"] };
    }
    /** Return proposed rows by exact cosine with `query`, best first, ties by row. */
    rescore(query, proposed) {
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
    async top(query, count, eligible = null, nearest) {
        const layered = this.layer !== null && !isZero(query);
        if (count <= this.candidates && (nearest !== undefined || layered)) {
            const found = nearest ?? this.rescore(query, await this.propose(query));
            const places = [...found.rows.keys()].filter((at) => eligible === null || eligible[found.rows[at]] === 1);
            if (places.length >= count) {
                const best = places.slice(0, count);
                const rows = Int32Array.from(best, (at) => found.rows[at]);
                return { rows, scores: Float32Array.from(best, (at) => found.scores[at]) };
            }
        }
        return this.scan(query, count, eligible);
    }
    /** Return the exact cosines of `query` ([dim], unit length) with some rows. */
    cosines(query, rows) {
        const floats = float16Values();
        const { dim, vectors } = this;
        const scores = new Float32Array(rows.length);
        for (let place = 0; place < rows.length; place++) {
            const start = rows[place] * dim;
            let sum = 0;
            for (let at = 0; at < dim; at++)
                sum += floats[vectors[start + at]] * query[at];
            scores[place] = sum;
        }
        return scores;
    }
    /** Return the stored vector of one row, [dim]. */
    vectorOf(row) {
        const floats = float16Values();
        const stored = this.vectors.subarray(row * this.dim, (row + 1) * this.dim);
        return Float32Array.from(stored, (value) => floats[value]);
    }
    /** Free the layer's memory. */
    close() {
        this.layer?.close();
    }
    scan(query, count, eligible) {
        const rows = rowsOf(eligible, this.length);
        return bestRows(rows, this.cosines(query, rows), count);
    }
}
/** Return the rows of a mask, or all of `length`, rising. */
export function rowsOf(mask, length) {
    if (mask === null)
        return Int32Array.from({ length }, (_, row) => row);
    const rows = [];
    mask.forEach((one, row) => {
        if (one === 1)
            rows.push(row);
    });
    return Int32Array.from(rows);
}
function checkLayer(layer, dim, candidates) {
    const found = [
        layer.inputShape(SIGNATURE, "query"),
        layer.outputShape(SIGNATURE, "scores"),
        layer.outputShape(SIGNATURE, "rows"),
    ];
    const expected = [
        [1, dim],
        [1, candidates],
        [1, candidates],
    ];
    if (JSON.stringify(found) !== JSON.stringify(expected)) {
        throw new BundleFormatError(`${CATALOGUE_LAYER_FILE} has shapes ${JSON.stringify(found)}, the manifest says ${JSON.stringify(expected)}; ` +
            "get the bundle again");
    }
}
/** Read a `.npy` file of version 1.0 that holds float16 [products, dim] in C order; the values stay where they are. */
function readVectors(data, products, dim) {
    const refuse = (found) => {
        throw new BundleFormatError(`${ITEM_VECTORS_FILE} holds ${found}, expected float16 (${String(products)}, ${String(dim)}); get the bundle again`);
    };
    const magic = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0];
    if (data.length < 10 || magic.some((byte, place) => data[place] !== byte))
        refuse("no array of version 1.0");
    const start = 10 + data[8] + 256 * data[9];
    const header = new TextDecoder("latin1").decode(data.subarray(10, start));
    const shape = /'shape': \((\d+), (\d+)\)/.exec(header);
    const fits = Number(shape?.[1]) === products && Number(shape?.[2]) === dim && products * dim > 0;
    if (!fits || !/'descr': '<f2'/.test(header) || !/'fortran_order': False/.test(header))
        refuse(header.trim());
    if (data.length !== start + products * dim * 2)
        refuse(`${String(data.length)} bytes`);
    const offset = data.byteOffset + start;
    if (offset % 2 === 0)
        return new Uint16Array(data.buffer, offset, products * dim);
    return new Uint16Array(data.slice(start).buffer);
}
let floats;
/** Return the float32 value of every float16, by its bits. */
function float16Values() {
    floats ??= Float32Array.from({ length: 65_536 }, (_, bits) => {
        const sign = bits & 0x8000 ? -1 : 1;
        const exponent = (bits >> 10) & 0x1f;
        const fraction = bits & 0x3ff;
        if (exponent === 0x1f)
            return fraction ? NaN : sign * Infinity;
        if (exponent === 0)
            return sign * fraction * 2 ** -24;
        return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
    });
    return floats;
}
