/** Why a product ranks: what its score loses when one word, or one product of the history, is left out (edge_runtime/explanation.py). */
import {} from "./encoder.js";
import { termsOf } from "./lexical.js";
import {} from "./query_scores.js";
import { wordsOf } from "./spelling.js";
/** Of a longer query, the first words are explained. */
export const MAX_EXPLAINED_WORDS = 32;
/** Leave out each word of the normalized `text` in turn and compare the score of the product. */
export async function explainQuery(scores, text, subject, lexicalIndex, encoder) {
    const rows = Int32Array.of(subject.row);
    const cosines = scores.cosines(rows);
    const full = scores.hybrid(cosines, scores.hits.of(rows))[0];
    const dense = scores.hybrid(cosines, new Float32Array(1))[0];
    const words = wordsOf(text);
    const contributions = [];
    for (const [place, word] of words.slice(0, MAX_EXPLAINED_WORDS).entries()) {
        const rest = words.filter((_, other) => other !== place).join(" ");
        const without = scores.hybrid(scores.cosines(rows, await encoder.encodeQuery(rest)), lexicalIndex.hits(lexicalIndex.understand(rest)).of(rows))[0];
        const asked = lexicalIndex.understand(word);
        contributions.push({
            word,
            contribution: Math.fround(full - without),
            readAs: Object.values(asked.corrections).flat(),
            matchedFields: [...new Set(termsOf(asked).flatMap((term) => lexicalIndex.fieldsWith(term, subject.row)))],
        });
    }
    const lexicalPart = Math.fround(full - dense);
    return { productId: subject.productId, score: full, densePart: dense, lexicalPart, words: contributions };
}
/** Leave out each history item in turn and compare the score of the product `target`. */
export async function explainHistory(encoder, items, target) {
    const full = await historyScore(encoder, items, target);
    const contributions = [];
    for (const [place, item] of items.entries()) {
        const others = items.filter((_, other) => other !== place);
        const without = others.length > 0 ? await historyScore(encoder, others, target) : 0;
        contributions.push({ productId: item.productId, contribution: full - without });
    }
    return { productId: target.productId, score: full, items: contributions };
}
async function historyScore(encoder, items, target) {
    const query = await encoder.readHistory(items.map((item) => item.vector));
    let score = 0;
    query.vector.forEach((value, place) => (score += value * target.vector[place]));
    items.forEach((item, place) => {
        if (item.productId === target.productId)
            score += query.repeats[place];
    });
    return score;
}
