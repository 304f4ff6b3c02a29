"""Rows with scores: choosing the best, and fusing dense and lexical scores."""

from dataclasses import dataclass

import numpy as np

from edge_runtime.contract.types import Float32, Rows


@dataclass(frozen=True, eq=False)
class Ranked:
    """Rows of the catalogue, best first: `rows` int32 [n], `scores` float32 [n]."""

    rows: Rows
    scores: Float32


def best_rows(rows: Rows, scores: Float32, count: int) -> Ranked:
    """Return the `count` best of `rows` by score, ties by row number, so that every device agrees."""
    if count < len(rows):
        threshold = np.partition(scores, len(scores) - count)[len(scores) - count]
        kept = np.flatnonzero(scores >= threshold)
        rows, scores = rows[kept], scores[kept]
    order = np.lexsort((rows, -scores))[:count]
    return Ranked(rows[order], scores[order])


def merged_rows(left: Rows, right: Rows) -> Rows:
    """Return the rows of either, rising, each once; np.union1d would import a slow part of NumPy first."""
    rows = np.sort(np.concatenate([left, right]))
    return rows[np.concatenate([[True], rows[1:] != rows[:-1]])] if len(rows) else rows


def fuse(
    cosines: Float32, lexical: Float32, *, dense_weight: float, best_cosine: float, best_lexical: float
) -> Float32:
    """Return the hybrid scores float32 [n] (contract/bundle.py: `FusionSpec`).

    Args:
        cosines: float32 [n], exact cosines of the candidates.
        lexical: float32 [n], their lexical scores, 0 where no word matches.
        dense_weight: share of the dense score, 0 … 1.
        best_cosine: the best cosine of the whole catalogue.
        best_lexical: the best lexical score of the whole catalogue; 0 when no word matches anything.
    """
    dense = (cosines + 1) / max(best_cosine + 1, 1e-6)
    words = lexical / best_lexical if best_lexical > 0 else np.zeros_like(lexical)
    return np.asarray(dense_weight * dense + (1 - dense_weight) * words, dtype=np.float32)
