/** Rows with scores: choosing the best, and mixing dense and lexical scores (edge_runtime/ranking.py). */
/** Return the `count` best of `rows` by score, ties by row number, so that every device agrees. */
export function bestRows(rows, scores, count) {
    let places = Array.from(rows, (_, place) => place);
    if (count < rows.length) {
        const threshold = Float32Array.from(scores).sort()[scores.length - count];
        places = places.filter((place) => scores[place] >= threshold);
    }
    places.sort((a, b) => scores[b] - scores[a] || rows[a] - rows[b]);
    places.length = Math.min(places.length, count);
    return {
        rows: Int32Array.from(places, (place) => rows[place]),
        scores: Float32Array.from(places, (place) => scores[place]),
    };
}
/** Return the hybrid scores of rows; float32 at every step, as the reference computes them. */
export function fuse(cosines, lexical, context) {
    const { fround } = Math;
    const denseWeight = fround(context.denseWeight);
    const lexicalWeight = fround(1 - context.denseWeight);
    const denseBest = fround(Math.max(context.bestCosine + 1, 1e-6));
    const wordsBest = fround(context.bestLexical);
    return Float32Array.from(cosines, (cosine, place) => {
        const dense = fround(fround(cosine + 1) / denseBest);
        const words = wordsBest > 0 ? fround(lexical[place] / wordsBest) : 0;
        return fround(denseWeight * dense) + fround(lexicalWeight * words);
    });
}
