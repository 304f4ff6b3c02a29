"""Rows with scores: choosing the best, and mixing dense and lexical scores."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int32]


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


def fuse(
    cosines: Float32, bm25: Float32, *, dense_weight: float, best_cosine: float, best_bm25: float
) -> npt.NDArray[np.float32]:
    """Return the hybrid scores float32 [n] (contract/bundle.py: `FusionSpec`).

    Args:
        cosines: float32 [n], exact cosines of the candidates.
        bm25: float32 [n], their BM25, 0 where no word matches.
        dense_weight: share of the dense score, 0 … 1.
        best_cosine: the best cosine of the whole catalogue.
        best_bm25: the best BM25 of the whole catalogue; 0 when no word matches anything.
    """
    dense = (cosines + 1) / max(best_cosine + 1, 1e-6)
    lexical = bm25 / best_bm25 if best_bm25 > 0 else np.zeros_like(bm25)
    return np.asarray(dense_weight * dense + (1 - dense_weight) * lexical, dtype=np.float32)
