"""How much of the teacher's ranking quality a student keeps.

Quality of one query is the mean of its re-rank and retrieval NDCG@10. What a random order would get is subtracted on
both sides: where most judged products are good, even chance ranks well, and a plain ratio would flatter the student.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from compress.measure.quality import ndcg_by_query
from edge_runtime.contract.types import Float32
from train.data.tables import Judgement
from train.evaluation.metrics import ndcg_at_k

Judged = Mapping[str, Sequence[Judgement]]
Float64 = npt.NDArray[np.float64]

MIN_QUERIES = 10
"""Fewer judged queries cannot choose between students; then the teacher's own rankings do."""

_TOP_K = 10
_DRAWS = 1_000


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
        return chance_ndcg(self.judged, products=len(self.items))

    def values(self, queries: Float32) -> Float64:
        """Return float64 [queries, 2], re-rank and retrieval NDCG@10 of query vectors float32 [queries, dim]."""
        return ndcg_by_query(self.judged, queries @ self.items.T)

    def retention(self, values: Float64) -> float:
        """Return the share of the teacher's quality above chance that `values` float64 [queries, 2] keep."""
        return _share(values.sum(axis=1), self.teacher.sum(axis=1), self.chance.sum(axis=1))

    def interval(self, values: Float64, *, seed: int = 0) -> tuple[float, float]:
        """Return the 95% bootstrap interval of the retention over the queries."""
        low, high = np.quantile(self._resampled(values, seed), (0.025, 0.975))
        return float(low), float(high)

    def noise(self, values: Float64, other: Float64, *, seed: int = 0) -> float:
        """Return the standard error of the difference of two retentions on the same queries."""
        return float(np.std(self._resampled(values, seed) - self._resampled(other, seed)))

    def _resampled(self, values: Float64, seed: int) -> Float64:
        rows = np.random.default_rng(seed).integers(0, len(values), (_DRAWS, len(values)))
        student, teacher, chance = (part.sum(axis=1)[rows] for part in (values, self.teacher, self.chance))
        above = np.maximum((teacher - chance).mean(axis=1), 1e-9)
        return np.asarray((student - chance).mean(axis=1) / above, dtype=np.float64)


def chance_ndcg(judged: Judged, *, products: int) -> Float64:
    """Return the expected re-rank and retrieval NDCG@10 of a random order, float64 [queries with a gain, 2].

    A random place holds the mean gain: of the judged products when only these are ranked, of all `products` otherwise.
    """
    rows = []
    for judgements in judged.values():
        gains = np.array([judgement.gain for judgement in judgements])
        if not gains.any():
            continue
        rows.append(
            [
                ndcg_at_k([gains.sum() / among] * min(_TOP_K, among), _TOP_K, ideal_gains=gains)
                for among in (len(gains), products)
            ]
        )
    return np.array(rows, dtype=np.float64).reshape(-1, 2)


def judged_by_teacher(
    queries: Sequence[str], vectors: Float32, items: Float32, *, top: int = _TOP_K
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
    random, gaps = np.random.default_rng(seed), []
    count = len(scale.teacher)
    totals = np.stack([one.sum(axis=1) for one in values])
    teacher, chance = scale.teacher.sum(axis=1), scale.chance.sum(axis=1)
    for _ in range(200):
        drawn = random.integers(0, count, count)
        left_out = np.setdiff1d(np.arange(count), drawn)
        if not len(left_out):
            continue
        inside = [_share(one[drawn], teacher[drawn], chance[drawn]) for one in totals]
        outside = [_share(one[left_out], teacher[left_out], chance[left_out]) for one in totals]
        # Against the mean of all students on the same queries, so that easy and hard resamples cancel out.
        best = int(np.argmax(inside))
        gaps.append((inside[best] - np.mean(inside)) - (outside[best] - np.mean(outside)))
    return max(0.0, float(np.mean(gaps))) if gaps else 0.0


def _share(student: Float64, teacher: Float64, chance: Float64) -> float:
    return float((student - chance).mean() / max((teacher - chance).mean(), 1e-9))
