/** Why a product is in the list: the two parts of its score, and what every typed word added. */

import { type Explanation } from "pocketrec-web";

import { make, styled } from "../dom.js";

/** A share below this would be shown as zero. */
const NOTHING = 0.0005;

/** Return the picture of an explanation. */
export function explanationView(explanation: Explanation): HTMLElement {
  const { score, densePart, lexicalPart } = explanation;
  const share = (part: number): number => (score > 0 ? Math.max(0, Math.min(100, (part / score) * 100)) : 0);
  const meaning = share(densePart);
  const words = share(lexicalPart);
  const bar = make(
    "div.parts",
    { role: "img", "aria-label": `${meaning.toFixed(0)}% by meaning, ${words.toFixed(0)}% by words` },
    styled(make("i.meaning"), { width: `${meaning.toFixed(1)}%` }),
    styled(make("i.words"), { width: `${words.toFixed(1)}%` }),
  );
  return make(
    "div.why",
    {},
    bar,
    make(
      "p.legend",
      {},
      make("span.meaning", {}, `meaning ${meaning.toFixed(0)}%`),
      make("span.words", {}, `words ${words.toFixed(0)}%`),
      make("span.score", {}, `score ${score.toFixed(3)}`),
    ),
    make("ul", {}, ...wordRows(explanation)),
  );
}

function wordRows(explanation: Explanation): HTMLElement[] {
  const largest = Math.max(...explanation.words.map((one) => Math.abs(one.contribution)), 1e-6);
  return explanation.words.map((one) => {
    const against = one.contribution < -NOTHING;
    const width = (Math.abs(one.contribution) / largest) * 100;
    const read = one.readAs.length > 0 ? make("span.read", {}, ` read as ${one.readAs.join(" or ")}`) : null;
    const where = one.matchedFields.length > 0 ? `in its ${one.matchedFields.join(", ")}` : "by meaning only";
    return make(
      against ? "li.against" : "li",
      {},
      make("span.word", {}, one.word, read),
      make("span.where", {}, where),
      make("span.bar", {}, styled(make("i"), { width: `${width.toFixed(0)}%` })),
      make("span.value", {}, signed(one.contribution)),
    );
  });
}

function signed(value: number): string {
  if (Math.abs(value) < NOTHING) return "±0";
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;
}
