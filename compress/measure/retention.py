"""How much of the teacher's ranking quality a student keeps.

Quality of one query is the mean of its re-rank and retrieval NDCG@10. The value of a random order is subtracted on
both sides: where most judged products are relevant, a random order also ranks well, and a plain ratio would be too high.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from compress.measure.quality import TOP_K, ndcg_by_query
from edge_runtime.contract.types import Float32, Float64
from train.data.tables import Judged, Judgement
from train.evaluation.intervals import draw_rows, percentile_interval, resampled_shares, share_of
from train.evaluation.metrics import chance_ndcg

MIN_QUERIES = 10
"""Fewer judged queries cannot choose between students; then the teacher's own rankings do."""

_DRAWS = 1_000
"""An interval is computed for each student of a search, so half of the draws of a report."""


@dataclass(frozen=True)
class RetentionScale:
    """What students are held against.

    Attributes:
        judged: the queries.
        items: float32 [products, dim], unit rows.
        teacher: float64 [queries, 2], re-rank and retrieval NDCG@10 of the teacher.
        by_teacher: the gains are the teacher's own first ten, because too few queries are judged.
    """

    judged: Judged
    items: Float32
    teacher: Float64
    by_teacher: bool

    @cached_property
    def chance(self) -> Float64:
        """The expected NDCG@10 of a random order, float64 [queries, 2]."""
        return chance_by_query(self.judged, products=len(self.items))

    def values(self, queries: Float32) -> Float64:
        """Return float64 [queries, 2], re-rank and retrieval NDCG@10 of query vectors float32 [queries, dim]."""
        return ndcg_by_query(self.judged, queries @ self.items.T)

    def retention(self, values: Float64) -> float:
        """Return the share of the teacher's quality above chance that `values` float64 [queries, 2] keep."""
        return share_of(*self._above_chance(values))

    def interval(self, values: Float64, *, seed: int = 0) -> tuple[float, float]:
        """Return the 95% bootstrap interval of the retention over the queries."""
        return percentile_interval(self._resampled(values, seed))

    def noise(self, values: Float64, other: Float64, *, seed: int = 0) -> float:
        """Return the standard error of the difference of two retentions on the same queries."""
        return float(np.std(self._resampled(values, seed) - self._resampled(other, seed)))

    def _resampled(self, values: Float64, seed: int) -> Float64:
        return resampled_shares(*self._above_chance(values), draws=_DRAWS, seed=seed)

    def _above_chance(self, values: Float64) -> tuple[Float64, Float64]:
        """Return float64 [queries], what `values` and what the teacher have above chance, re-rank and retrieval added."""
        return (values - self.chance).sum(axis=1), (self.teacher - self.chance).sum(axis=1)


def chance_by_query(judged: Judged, *, products: int) -> Float64:
    """Return the expected re-rank and retrieval NDCG@10 of a random order, float64 [queries with a gain, 2].

    A random place holds the mean gain: of the judged products when only these are ranked, of all `products` otherwise.
    """
    of_query = [np.array([judgement.gain for judgement in judgements]) for judgements in judged.values()]
    rows = [
        [chance_ndcg(gains, TOP_K, among=among) for among in (len(gains), products)]
        for gains in of_query
        if gains.any()
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, 2)


def judged_by_teacher(
    queries: Sequence[str], vectors: Float32, items: Float32, *, top: int = TOP_K
) -> dict[str, list[Judgement]]:
    """Return the teacher's first `top` products of each query as judgements; the gain falls from 1 to 1 / `top`.

    Args:
        queries: texts, each once.
        vectors: float32 [queries, dim], the teacher's.
        items: float32 [products, dim].
        top: how many products.
    """
    order = np.argsort(-(vectors @ items.T), axis=1, kind="stable")[:, :top]
    return {
        query: [Judgement(query, int(row), (top - place) / top) for place, row in enumerate(rows)]
        for query, rows in zip(queries, order, strict=True)
    }


def optimism(scale: RetentionScale, values: Sequence[Float64], *, seed: int = 0) -> float:
    """Return by how much the best retention of several students flatters the winner, because the queries chose it.

    In each resample of the queries the best student is chosen, and measured on the queries that the resample left out.
    """
    gaps = []
    totals = [(one - scale.chance).sum(axis=1) for one in values]
    teacher = (scale.teacher - scale.chance).sum(axis=1)
    for drawn in draw_rows(len(teacher), 200, seed):
        left_out = np.setdiff1d(np.arange(len(teacher)), drawn)
        if not len(left_out):
            continue
        inside = [share_of(one[drawn], teacher[drawn]) for one in totals]
        outside = [share_of(one[left_out], teacher[left_out]) for one in totals]
        # Against the mean of all students on the same queries, so that easy and hard resamples cancel out.
        best = int(np.argmax(inside))
        gaps.append((inside[best] - np.mean(inside)) - (outside[best] - np.mean(outside)))
    return max(0.0, float(np.mean(gaps))) if gaps else 0.0
