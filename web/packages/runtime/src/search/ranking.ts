/** Rows with scores: choosing the best, and mixing dense and lexical scores. */

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
export function bestRows(rows: Int32Array, scores: Float32Array, count: number): Ranked {
  let places = Array.from(rows, (_, place) => place);
  if (count < rows.length) {
    const threshold = Float32Array.from(scores).sort()[scores.length - count] as number;
    places = places.filter((place) => (scores[place] as number) >= threshold);
  }
  places.sort((a, b) => (scores[b] as number) - (scores[a] as number) || (rows[a] as number) - (rows[b] as number));
  places.length = Math.min(places.length, count);
  return {
    rows: Int32Array.from(places, (place) => rows[place] as number),
    scores: Float32Array.from(places, (place) => scores[place] as number),
  };
}

/** Return the hybrid scores of rows; float32 at every step, as the reference computes them. */
export function fuse(cosines: Float32Array, lexical: Float32Array, context: FusionContext): Float32Array {
  const { fround } = Math;
  const denseWeight = fround(context.denseWeight);
  const lexicalWeight = fround(1 - context.denseWeight);
  const denseBest = fround(Math.max(context.bestCosine + 1, 1e-6));
  const wordsBest = fround(context.bestLexical);
  return Float32Array.from(cosines, (cosine, place) => {
    const dense = fround(fround(cosine + 1) / denseBest);
    const words = wordsBest > 0 ? fround((lexical[place] as number) / wordsBest) : 0;
    return fround(denseWeight * dense) + fround(lexicalWeight * words);
  });
}
