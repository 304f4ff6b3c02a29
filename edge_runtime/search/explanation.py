"""Explains a rank: how much the score falls when one word, or one product of the history, is left out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_runtime.contract.types import Float32
from edge_runtime.inference.encoder import Encoder
from edge_runtime.search.lexical import LexicalIndex
from edge_runtime.search.query_scores import QueryScores
from edge_runtime.search.spelling import words_of

MAX_EXPLAINED_WORDS = 32
"""Of a longer query, the first words are explained."""


@dataclass(frozen=True)
class WordContribution:
    """One word of a query.

    Attributes:
        word: as it was typed.
        contribution: the hybrid score with the word minus without it; below 0 when the word speaks against the product.
        read_as: the catalogue's words that replace it, when no product has it.
        matched_fields: text columns of the product that hold the word or a form of it.
    """

    word: str
    contribution: float
    read_as: tuple[str, ...]
    matched_fields: tuple[str, ...]


@dataclass(frozen=True)
class Explanation:
    """Why a product ranks for a query: the hybrid score, its two parts (they sum up to it), and every word's share."""

    product_id: str
    score: float
    dense_part: float
    lexical_part: float
    words: tuple[WordContribution, ...]


@dataclass(frozen=True)
class ItemContribution:
    """One product of a history: the score with it minus without it."""

    product_id: str
    contribution: float


@dataclass(frozen=True)
class HistoryExplanation:
    """Why a product ranks for a history: the score, and every history item's share in it, oldest first."""

    product_id: str
    score: float
    items: tuple[ItemContribution, ...]


def explain_query(
    scores: QueryScores, text: str, product_id: str, row: int, *, lexical: LexicalIndex, encoder: Encoder
) -> Explanation:
    """Leave out each word of the normalized `text` in turn and compare the score of the product in `row`."""
    rows = np.array([row], dtype=np.int32)
    cosine = scores.cosines(rows)
    full, dense = scores.hybrid(cosine, scores.hits.of(rows))[0], scores.hybrid(cosine, np.zeros(1, np.float32))[0]
    words = words_of(text)
    contributions = []
    for place, word in enumerate(words[:MAX_EXPLAINED_WORDS]):
        rest = " ".join(words[:place] + words[place + 1 :])
        cosine = scores.cosines(rows, encoder.encode_query(rest))
        without = scores.hybrid(cosine, lexical.hits(lexical.understand(rest)).of(rows))[0]
        asked = lexical.understand(word)
        fields = dict.fromkeys(name for term in asked.terms for name in lexical.fields_with(term, row))
        read_as = tuple(term for found in asked.corrections.values() for term in found)
        contributions.append(WordContribution(word, float(full - without), read_as, tuple(fields)))
    return Explanation(product_id, float(full), float(dense), float(full - dense), tuple(contributions))


def explain_history(
    encoder: Encoder, vectors: Float32, items: Sequence[str], product_id: str, target: Float32
) -> HistoryExplanation:
    """Leave out each history item in turn and compare the score of the product.

    Args:
        encoder: gives the vector of a history.
        vectors: float32 [n, dim] of the history, newest last, not more than the model reads.
        items: their product ids.
        product_id: the product that is explained.
        target: float32 [dim], its vector.
    """
    full = _history_score(encoder, vectors, items, product_id, target)
    contributions = []
    for place, item in enumerate(items):
        rest = np.delete(vectors, place, axis=0)
        others = [*items[:place], *items[place + 1 :]]
        without = _history_score(encoder, rest, others, product_id, target) if others else 0.0
        contributions.append(ItemContribution(item, full - without))
    return HistoryExplanation(product_id, full, tuple(contributions))


def _history_score(encoder: Encoder, vectors: Float32, items: Sequence[str], product_id: str, target: Float32) -> float:
    query = encoder.read_history(vectors)
    repeated = np.array([item == product_id for item in items], dtype=np.bool_)
    return float(query.vector @ target + query.repeats[repeated].sum())
