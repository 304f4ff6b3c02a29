"""Rows of quality: each figure beside its own interval."""

from dataclasses import dataclass

from train.evaluation.intervals import estimate_mean
from train.evaluation.quality_rows import BasketQuality, SearchQuality


@dataclass(frozen=True, kw_only=True)
class Named(SearchQuality):
    name: str


def test_search_row_holds_both_means_with_their_intervals():
    row = Named.of([0.1, 0.9, 0.4], [0.0, 0.2, 0.3], name="dense")
    assert (row.name, row.queries) == ("dense", 3)
    assert (row.rerank_ndcg10, row.rerank_ci95) == estimate_mean([0.1, 0.9, 0.4])
    assert (row.retrieval_ndcg10, row.retrieval_ci95) == estimate_mean([0.0, 0.2, 0.3])


def test_basket_row_takes_recall_and_ndcg_of_each_user():
    row = BasketQuality.of([(1.0, 0.5), (0.0, 0.25)])
    assert (row.recall10, row.recall10_ci95) == estimate_mean([1.0, 0.0])
    assert (row.ndcg10, row.ndcg10_ci95) == estimate_mean([0.5, 0.25])
