"""The queries of the sample shop: queries with typing errors and synonyms, and the grades of products for them."""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from train.data.sample.products import SampleProduct, Shelves
from train.data.sample.words import Kind, Words

JUDGED_PER_QUERY = 20
"""About as many as ESCI judges for a query."""

_WISHES = (  # what a query asks for besides the noun; repeated ones are more frequent
    (),
    (),
    ("color",),
    ("color",),
    ("material",),
    ("style",),
    ("brand",),
    ("feature",),
    ("size",),
    ("color", "material"),
    ("style", "material"),
    ("style", "color"),
    ("color", "size"),
    ("brand", "color"),
    ("style", "feature"),
)
_NEIGHBORS = {
    "a": "s", "b": "v", "c": "x", "d": "f", "e": "r", "f": "g", "g": "h", "h": "j", "i": "o", "j": "k", "k": "l",
    "l": "k", "m": "n", "n": "m", "o": "p", "p": "o", "q": "w", "r": "t", "s": "d", "t": "y", "u": "i", "v": "b",
    "w": "e", "x": "c", "y": "u", "z": "x",
}  # fmt: skip


@dataclass(frozen=True)
class SampleQuery:
    """A query as typed, and what it means: a kind of product and the aspects that it should have."""

    text: str
    kind: Kind
    wishes: Mapping[str, str]


def make_queries(
    words: Words, products: Sequence[SampleProduct], count: int, random_source: random.Random
) -> list[SampleQuery]:
    """Make up to `count` queries with distinct texts; each asks for something that at least one product is."""
    queries: dict[str, SampleQuery] = {}
    for _ in range(count * 5):
        if len(queries) == count:
            break
        query = _query(words, random_source.choice(products), random_source)
        queries.setdefault(query.text, query)
    return list(queries.values())


def judge(query: SampleQuery, shelves: Shelves, random_source: random.Random) -> list[tuple[SampleProduct, int]]:
    """Return some `JUDGED_PER_QUERY` products with their grades, the hard negatives among them.

    3: the kind with every wish; 2: the kind with some; 1: the kind with none, or a neighbor in the aisle with all
    (at least one) wishes; 0: anything else.
    """
    graded: dict[int, list[SampleProduct]] = defaultdict(list)
    for product in shelves.by_aisle[query.kind.department, query.kind.aisle]:
        graded[_grade(query, product)].append(product)
    chosen: list[tuple[SampleProduct, int]] = []
    for grade, most in ((3, 7), (2, 6), (1, 5)):
        picked = random_source.sample(graded[grade], min(most, len(graded[grade])))
        chosen += [(product, grade) for product in picked]
    strangers = random_source.sample(shelves.products, min(12 * JUDGED_PER_QUERY, len(shelves.products)))
    strangers = [product for product in strangers if _grade(query, product) == 0]
    tempting = graded[0] + [product for product in strangers if _shares_a_wish(query, product)]
    for noun in query.kind.goes_with:
        tempting += [product for product in shelves.by_noun.get(noun, ()) if _grade(query, product) == 0]
    missing = max(JUDGED_PER_QUERY - len(chosen), 4)
    random_source.shuffle(tempting)
    # Two thirds look right at first sight, the rest is anything else; a dictionary, since both may hold the same one.
    negatives = {product.product_id: product for product in tempting[: missing * 2 // 3]}
    for product in strangers:
        if len(negatives) == missing:
            break
        negatives[product.product_id] = product
    return chosen + [(product, 0) for product in negatives.values()]


def misspell(text: str, random_source: random.Random) -> str:
    """Return `text` with one slip of the fingers in one of its longer words; unchanged when all are short."""
    words = text.split(" ")
    long = [index for index, word in enumerate(words) if len(word) >= 5 and word.isalpha()]
    if not long:
        return text
    index = random_source.choice(long)
    word = words[index]
    at = random_source.randrange(1, len(word) - 1)
    slips = (
        word[:at] + word[at + 1 :],
        word[:at] + word[at] + word[at:],
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        word[:at] + _NEIGHBORS.get(word[at], word[at]) + word[at + 1 :],
    )
    words[index] = random_source.choice(slips)
    return " ".join(words)


def _query(words: Words, product: SampleProduct, random_source: random.Random) -> SampleQuery:
    kind = product.kind
    wishes = {
        aspect: value for aspect in random_source.choice(_WISHES) if (value := str(getattr(product, aspect))) != ""
    }
    noun = random_source.choice(kind.also) if kind.also and random_source.random() < 0.35 else kind.noun
    worded = {aspect: _worded(words, value, random_source) for aspect, value in wishes.items()}
    before = [worded[aspect] for aspect in ("brand", "style", "color", "material") if aspect in worded]
    after = [f"with {worded['feature']}" if "feature" in worded else "", worded.get("size", "")]
    ordered = [noun, *before, *after] if random_source.random() < 0.2 else [*before, noun, *after]
    text = " ".join(filter(None, ordered)).lower()
    if random_source.random() < 0.18:
        text = misspell(text, random_source)
    return SampleQuery(text=text, kind=kind, wishes=wishes)


def _worded(words: Words, value: str, random_source: random.Random) -> str:
    others = words.word_synonyms.get(value)
    return random_source.choice(others) if others and random_source.random() < 0.4 else value


def _grade(query: SampleQuery, product: SampleProduct) -> int:
    met = sum(getattr(product, aspect) == value for aspect, value in query.wishes.items())
    everything = met == len(query.wishes)
    if product.kind is query.kind:
        return 3 if everything else 2 if met else 1
    same_aisle = (product.kind.department, product.kind.aisle) == (query.kind.department, query.kind.aisle)
    return 1 if same_aisle and everything and met else 0


def _shares_a_wish(query: SampleQuery, product: SampleProduct) -> bool:
    return any(getattr(product, aspect) == value for aspect, value in query.wishes.items())
