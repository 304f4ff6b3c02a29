"""Ranking quality of one stage of a build: its query vectors against the catalogue's item vectors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.types import Float32
from train.data.tables import Judged
from train.evaluation.metrics import rerank_ndcg, retrieval_ndcg
from train.evaluation.quality_rows import SearchQuality

TOP_K = 10


@dataclass(frozen=True, kw_only=True)
class StageQuality(SearchQuality):
    """Quality of one stage on the held-out queries; `stage` names it."""

    stage: str


def rank_quality(
    stage: str, judged: Judged, scores: Sequence[npt.NDArray[np.floating]] | Float32
) -> StageQuality | None:
    """Return the quality of `scores`, float [products] for each judged query in the order of `judged`.

    None when no query has a product of gain above 0.
    """
    values = ndcg_by_query(judged, scores)
    if not len(values):
        return None
    return StageQuality.of(*values.T, stage=stage)


def ndcg_by_query(judged: Judged, scores: Sequence[npt.NDArray[np.floating]] | Float32) -> npt.NDArray[np.float64]:
    """Return float64 [queries with a gain above 0, 2]: re-rank and retrieval NDCG@10."""
    values = []
    for judgements, row_scores in zip(judged.values(), scores, strict=True):
        rows = [judgement.row for judgement in judgements]
        gains = np.array([judgement.gain for judgement in judgements])
        if gains.any():
            retrieved = np.argsort(-row_scores, kind="stable")[:TOP_K].tolist()
            of_row = dict(zip(rows, gains.tolist(), strict=True))
            values.append((rerank_ndcg(gains, row_scores[rows], TOP_K), retrieval_ndcg(of_row, retrieved, TOP_K)))
    return np.array(values, dtype=np.float64).reshape(-1, 2)


def unit_rows(vectors: npt.NDArray[np.floating]) -> Float32:
    """Return float32 rows of unit length; a zero row stays zero."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors / np.maximum(norms, 1e-12)).astype(np.float32)
