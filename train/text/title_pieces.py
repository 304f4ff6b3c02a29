"""Synthetic queries made from the fields of a product: pieces of its title, and combinations of its fields."""

import re
from collections.abc import Sequence

import numpy as np

from edge_runtime.contract.text import normalize_text
from train.data.tables import Product

MAX_PIECE_WORDS = 6
"""Longer queries are rare in shops; a longer piece would be the title itself."""

_SEPARATORS = re.compile(r"\s*(?:[,;:|()\[\]{}/•–—]|\s-\s)\s*")
_CONNECTORS = frozenset(
    ["a", "an", "and", "by", "for", "from", "in", "of", "on", "or", "the", "to", "with", "without", "&", "+", "-", "x"]
)
"""Words that no query begins or ends with."""


def title_piece(product: Product, random: np.random.Generator) -> str:
    """Return 1 to `MAX_PIECE_WORDS` words in a row from the title; empty where they say too little."""
    segments = _segments(product.title)
    style = random.random()
    # The first segment names the thing: its beginning holds the brand, its end the type.
    words = segments[0 if style < 0.6 else random.integers(len(segments))].split()
    size = min(len(words), int(random.integers(1, MAX_PIECE_WORDS + 1)))
    start = 0 if style < 0.3 else len(words) - size
    if style >= 0.6:
        start = int(random.integers(len(words) - size + 1))
    piece = " ".join(_trimmed(words[start : start + size]))
    # Bare numbers and units are no query.
    return piece if sum(map(str.isalpha, piece)) > 2 or not piece.isascii() else ""


def _trimmed(words: Sequence[str]) -> list[str]:
    content = [place for place, word in enumerate(words) if word.casefold() not in _CONNECTORS]
    return list(words[content[0] : content[-1] + 1]) if content else []


def phrase(product: Product, random: np.random.Generator) -> str:
    """Return brand, attribute values, category and product type put together as a query would."""
    words = _segments(product.title)[0].split()
    kind = " ".join(_trimmed(words[-int(random.integers(1, 4)) :]))
    category = (product.category or "").rsplit(">", 1)[-1].strip()
    parts = [part for part in (product.brand or "", *product.attributes.values(), category) if part.strip()]
    chosen = [parts[index] for index in random.permutation(len(parts))[: int(random.integers(1, 4))]]
    pieces = chosen if category in chosen and random.random() < 0.5 else [*chosen, kind]
    # A word is kept once: many titles repeat the brand.
    distinct = {word.casefold(): word for word in reversed(" ".join(pieces).split()[: 2 * MAX_PIECE_WORDS])}
    return " ".join(reversed(distinct.values()))


def _segments(title: str) -> list[str]:
    segments = [segment.strip(" .!?\"'*-") for segment in _SEPARATORS.split(normalize_text(title))]
    return [segment for segment in segments if segment] or [normalize_text(title) or "-"]
