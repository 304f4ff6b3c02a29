"""Synthetic queries from the catalogue, without judgements: a text made from a product should find that product.

This adapts the teacher to the shop where judgements are few: it learns the shop's brands, types and phrases from
pieces of titles, from brand, attributes and category put together, and from passages of descriptions (generated pairs
in the manner of Ma et al., "Zero-shot Neural Passage Retrieval via Domain-targeted Synthetic Question Generation",
2021, with the catalogue's own words in place of a generator).
"""

from collections.abc import Sequence

import numpy as np

from edge_runtime.contract.text import normalize_text
from train.data.tables import Product
from train.text.title_pieces import phrase, title_piece

TITLE_SHARE, PHRASE_SHARE = 0.35, 0.25
"""The rest are passages of descriptions."""

# A short sentence to a few of them: what a teacher of some 64 word pieces can read.
_PASSAGE_CHARS = (40, 300)


def synthetic_queries(products: Sequence[Product], count: int, *, seed: int) -> list[tuple[str, int]]:
    """Return `count` pairs of a text and the row of the product that it was made from.

    Every product is drawn before any is drawn again. Equal arguments give equal pairs.

    Args:
        products: the catalogue.
        count: how many pairs.
        seed: of every random choice.
    """
    random = np.random.default_rng(seed)
    made: list[tuple[str, int]] = []
    while len(made) < count and products:
        for row in random.permutation(len(products))[: count - len(made)]:
            product = products[row]
            text = _text_of(product, random)
            # A number or unit alone is no query.
            says_enough = sum(map(str.isalpha, text)) > 2 or not text.isascii()
            made.append((text if says_enough else normalize_text(product.title), int(row)))
    return made


def _text_of(product: Product, random: np.random.Generator) -> str:
    style = random.random()
    if style < TITLE_SHARE:
        return title_piece(product, random)
    if style < TITLE_SHARE + PHRASE_SHARE or not product.description:
        return phrase(product, random)
    passage = normalize_text(product.description)
    size = int(random.integers(*_PASSAGE_CHARS))
    # Somewhere in the text, from the beginning of a word on.
    start = passage.rfind(" ", 0, 1 + int(random.integers(max(1, len(passage) - size)))) + 1
    return passage[start : start + size].strip()
