"""Ranking quality of one stage of a build: its query vectors against the catalogue's item vectors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.types import Float32
from train.data.tables import Judgement
from train.evaluation.intervals import bootstrap_interval
from train.evaluation.metrics import ndcg_at_k


@dataclass(frozen=True)
class StageQuality:
    """NDCG@10 of one stage with 95% bootstrap intervals over the queries.

    `rerank`: over each query's judged products. `retrieval`: over the whole catalogue, what is not judged counts 0.
    """

    stage: str
    queries: int
    rerank_ndcg10: float
    rerank_ci95: tuple[float, float]
    retrieval_ndcg10: float
    retrieval_ci95: tuple[float, float]


def rank_quality(
    stage: str, judged: Mapping[str, Sequence[Judgement]], scores: Sequence[npt.NDArray[np.floating]] | Float32
) -> StageQuality | None:
    """Return the quality of `scores`, float [products] for each judged query in the order of `judged`.

    None when no query has a product of gain above 0.
    """
    values = ndcg_by_query(judged, scores)
    if not len(values):
        return None
    return StageQuality(
        stage=stage,
        queries=len(values),
        rerank_ndcg10=float(values[:, 0].mean()),
        rerank_ci95=bootstrap_interval(values[:, 0]),
        retrieval_ndcg10=float(values[:, 1].mean()),
        retrieval_ci95=bootstrap_interval(values[:, 1]),
    )


def ndcg_by_query(
    judged: Mapping[str, Sequence[Judgement]], scores: Sequence[npt.NDArray[np.floating]] | Float32
) -> npt.NDArray[np.float64]:
    """Return float64 [queries with a gain above 0, 2]: re-rank and retrieval NDCG@10."""
    values = []
    for judgements, row_scores in zip(judged.values(), scores, strict=True):
        rows = np.array([judgement.row for judgement in judgements])
        gains = np.array([judgement.gain for judgement in judgements])
        if not gains.any():
            continue
        catalogue_gains = np.zeros(len(row_scores))
        catalogue_gains[rows] = gains
        ranked = gains[np.argsort(-row_scores[rows], kind="stable")]
        retrieved = catalogue_gains[np.argsort(-row_scores, kind="stable")[:10]]
        values.append((ndcg_at_k(ranked, 10, ideal_gains=gains), ndcg_at_k(retrieved, 10, ideal_gains=gains)))
    return np.array(values, dtype=np.float64).reshape(-1, 2)


def unit_rows(vectors: npt.NDArray[np.floating]) -> Float32:
    """Return float32 rows of unit length; a zero row stays zero."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors / np.maximum(norms, 1e-12)).astype(np.float32)
