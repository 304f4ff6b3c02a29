"""How much the dense score counts in hybrid search: learned on held-out queries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compress.quality import Float32, ndcg_by_query
from edge_runtime.contract.bundle import FusionSpec
from edge_runtime.ranking import fuse
from train.shop.tables import Judgement

DEFAULT_FUSION = FusionSpec(
    dense_weight=0.5, field_weights={"title": 3.0, "brand": 2.0, "category": 1.0, "attributes": 1.0, "description": 0.5}
)
"""Used as it stands when no query is held out. A word of the title says more than one of the description."""

_GRID = np.round(np.arange(0.0, 1.01, 0.05), 2)

Judged = Mapping[str, Sequence[Judgement]]


@dataclass(frozen=True)
class QueryScores:
    """Both scores of one query for every product: float32 [products] each; BM25 is 0 where no word matches."""

    cosines: Float32
    bm25: Float32

    def hybrid(self, dense_weight: float) -> npt.NDArray[np.float32]:
        """Return the scores as the device fuses them."""
        return fuse(
            self.cosines,
            self.bm25,
            dense_weight=dense_weight,
            best_cosine=float(self.cosines.max()),
            best_bm25=float(self.bm25.max()),
        )


def learn_dense_weight(judged: Judged, scores: Mapping[str, QueryScores]) -> float:
    """Return the weight with the best mean of re-rank and retrieval NDCG@10; the middle one of equals."""
    values = np.array([_quality(judged, scores, float(weight)) for weight in _GRID])
    best = np.flatnonzero(values >= values.max() - 1e-9)
    return float(_GRID[best[len(best) // 2]])


def cross_fitted_hybrid(judged: Judged, scores: Mapping[str, QueryScores]) -> list[npt.NDArray[np.float32]]:
    """Return hybrid scores of each query under a weight that was learned without it: two halves, each from the other."""
    queries = list(judged)
    halves = [queries[::2], queries[1::2]]
    weights = [
        learn_dense_weight({query: judged[query] for query in other}, scores) if other else DEFAULT_FUSION.dense_weight
        for other in reversed(halves)
    ]
    return [scores[query].hybrid(weights[number % 2]) for number, query in enumerate(queries)]


def _quality(judged: Judged, scores: Mapping[str, QueryScores], weight: float) -> float:
    values = ndcg_by_query(judged, [scores[query].hybrid(weight) for query in judged])
    return float(values.mean()) if len(values) else 0.0
