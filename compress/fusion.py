"""Learns the weights of hybrid search: those of coverage on training queries, that of the dense score on held-out ones.

Word matching is not trained, so the training queries can be used for it without bias. The dense score needs queries that
no model was trained on.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compress.measure.quality import ndcg_by_query
from edge_runtime.contract.bundle import FusionSpec
from edge_runtime.contract.types import Float32
from edge_runtime.search.lexical import ANY_FIELD, LexicalParts
from edge_runtime.search.ranking import fuse
from train.data.tables import Judged

DEFAULT_FUSION = FusionSpec(
    dense_weight=0.6,
    field_weights={"title": 3.0, "brand": 2.0, "category": 1.0, "attributes": 1.0, "description": 0.5},
    coverage_weights={ANY_FIELD: 2.0, "brand": 2.0},
)
"""Used as it stands when there are too few queries. A word of the title says more than one of the description; a product
that has all words, or the brand that was named, is more probably meant than one that repeats a single word."""

MIN_QUERIES = 20
"""Fewer training queries say less about the weights of coverage than the defaults do."""

MAX_QUERIES = 300
"""So many training queries decide."""

# From none to half again above the default, in steps that move rankings.
_COVERAGE_GRID = (0.0, 0.5, 1.0, 2.0, 3.0)

# The whole range of the weight, from the words alone to the vectors alone.
_GRID = np.round(np.arange(0.0, 1.01, 0.05), 2)


@dataclass(frozen=True)
class QueryScores:
    """Both scores of one query for every product: float32 [products] each; lexical is 0 where no word matches."""

    cosines: Float32
    lexical: Float32

    def hybrid(self, dense_weight: float) -> npt.NDArray[np.float32]:
        """Return the scores as the device fuses them."""
        return fuse(
            self.cosines,
            self.lexical,
            dense_weight=dense_weight,
            best_cosine=float(self.cosines.max()),
            best_lexical=float(self.lexical.max()),
        )


def learn_dense_weight(judged: Judged, scores: Mapping[str, QueryScores]) -> float:
    """Return the weight with the best mean of re-rank and retrieval NDCG@10, the middle one of equals.

    The default stays where the best one is ahead of it by less than two standard errors of the difference, so that a
    handful of queries does not decide by chance.
    """
    values = np.array([_quality(judged, scores, float(weight)) for weight in _GRID])
    if not values.shape[1]:
        return DEFAULT_FUSION.dense_weight
    means = values.mean(axis=1)
    best = np.flatnonzero(means >= means.max() - 1e-9)
    chosen = best[len(best) // 2]
    ahead = values[chosen] - values[np.argmin(np.abs(_GRID - DEFAULT_FUSION.dense_weight))]
    error = ahead.std(ddof=1) / np.sqrt(len(ahead)) if len(ahead) > 1 else np.inf
    certain = ahead.mean() > 2 * error + 1e-9
    return float(_GRID[chosen]) if certain else DEFAULT_FUSION.dense_weight


def learn_coverage_weights(judged: Judged, parts: Mapping[str, LexicalParts]) -> dict[str, float]:
    """Return the weights of coverage with the best mean of re-rank and retrieval NDCG@10 of the words alone.

    Args:
        judged: queries with their judgements; with fewer than `MIN_QUERIES` the defaults stay.
        parts: what the full-text index says of each of them.
    """
    default = DEFAULT_FUSION.coverage_weights
    if len(judged) < MIN_QUERIES:
        return dict(default)
    # The default comes first: of equals, the first one stays.
    grid = [
        default,
        *(dict(zip(default, weights, strict=True)) for weights in itertools.product(_COVERAGE_GRID, repeat=2)),
    ]
    found = [ndcg_by_query(judged, [parts[query].weighed(weights) for query in judged]).mean() for weights in grid]
    return dict(grid[int(np.argmax(found))])


def cross_fitted_hybrid(judged: Judged, scores: Mapping[str, QueryScores]) -> list[npt.NDArray[np.float32]]:
    """Return hybrid scores of each query under a weight that was learned without it: two halves, each from the other."""
    queries = list(judged)
    halves = [queries[::2], queries[1::2]]
    weights = [
        learn_dense_weight({query: judged[query] for query in other}, scores) if other else DEFAULT_FUSION.dense_weight
        for other in reversed(halves)
    ]
    return [scores[query].hybrid(weights[number % 2]) for number, query in enumerate(queries)]


def _quality(judged: Judged, scores: Mapping[str, QueryScores], weight: float) -> npt.NDArray[np.float64]:
    return ndcg_by_query(judged, [scores[query].hybrid(weight) for query in judged]) @ np.array([0.5, 0.5])
