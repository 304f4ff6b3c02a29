"""Rows of measured quality: means over queries or users with their intervals, as reports and result files name them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from train.evaluation.intervals import Values, estimate_mean

Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class SearchQuality:
    """NDCG@10 of search, means over `queries` with 95% bootstrap intervals.

    `rerank` is over each query's judged products, `retrieval` over the whole catalogue, where what is not judged counts 0.
    """

    queries: int
    rerank_ndcg10: float
    rerank_ci95: Interval
    retrieval_ndcg10: float
    retrieval_ci95: Interval

    @classmethod
    def of(cls, rerank: Values, retrieval: Values, **others: Any) -> Self:
        """Return the row of both NDCGs of each query, float [queries]; `others` are the fields of a row that has more."""
        (mean, ci95), (retrieved, retrieved_ci95) = estimate_mean(rerank), estimate_mean(retrieval)
        return cls(
            queries=len(rerank),
            rerank_ndcg10=mean,
            rerank_ci95=ci95,
            retrieval_ndcg10=retrieved,
            retrieval_ci95=retrieved_ci95,
            **others,
        )


@dataclass(frozen=True, kw_only=True)
class BasketQuality:
    """Quality of predicting baskets, means over users with 95% bootstrap intervals.

    Recall divides by min(10, basket). NDCG gives each product of the basket gain 1.
    """

    recall10: float
    recall10_ci95: Interval
    ndcg10: float
    ndcg10_ci95: Interval

    @classmethod
    def of(cls, figures: Sequence[tuple[float, float]], **others: Any) -> Self:
        """Return the row of the recall and NDCG of each user; `others` are the fields of a row that has more."""
        recall, ndcg = map(estimate_mean, zip(*figures, strict=True))
        return cls(recall10=recall.mean, recall10_ci95=recall.ci95, ndcg10=ndcg.mean, ndcg10_ci95=ndcg.ci95, **others)
