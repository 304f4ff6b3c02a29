"""Ranking metrics of one query; NumPy only, so that every package can use them."""

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Product = TypeVar("Product", bound=Hashable)


def ndcg_at_k(
    ranked_gains: Sequence[float] | npt.NDArray[np.floating],
    k: int,
    *,
    ideal_gains: Sequence[float] | npt.NDArray[np.floating],
) -> float:
    """Return the normalized discounted cumulative gain of one ranking, 0 … 1.

    Gains are used as they are (linear); position p, counted from 1, is discounted by log2(p + 1).

    Args:
        ranked_gains: gain of each ranked product, best first; 0 for a product that is not judged.
        k: how many positions count.
        ideal_gains: gains of all judged products in any order; the ideal ranking is made of them.

    Returns:
        0.0 when no judged product has a gain.

    Raises:
        ValueError: `k` is not positive.
    """
    _check_k(k)
    ideal = _discounted(np.sort(np.asarray(ideal_gains, dtype=np.float64))[::-1][:k])
    if ideal <= 0.0:
        return 0.0
    return _discounted(np.asarray(ranked_gains, dtype=np.float64)[:k]) / ideal


def recall_at_k(ranked: Sequence[Hashable], relevant: Collection[Hashable], k: int) -> float:
    """Return the share of `relevant` that stands among the first `k` of `ranked`; 0.0 when nothing is relevant.

    Raises:
        ValueError: `k` is not positive.
    """
    _check_k(k)
    wanted = set(relevant)
    return len(wanted.intersection(ranked[:k])) / len(wanted) if wanted else 0.0


def basket_recall_at_k(ranked: Sequence[Hashable], basket: Collection[Hashable], k: int) -> float:
    """Return the share of `basket` among the first `k` of `ranked`, divided by min(k, basket), so that 1.0 can be reached.

    Raises:
        ValueError: `k` is not positive.
    """
    _check_k(k)
    wanted = set(basket)
    return len(wanted.intersection(ranked[:k])) / min(k, len(wanted)) if wanted else 0.0


def rerank_ndcg(gains: npt.NDArray[np.floating], scores: npt.NDArray[np.floating], k: int) -> float:
    """Return the `ndcg_at_k` of a query's judged products, ordered by their scores; of equal scores the earlier one leads.

    Args:
        gains: float [judged].
        scores: float [judged].
        k: how many positions count.
    """
    return ndcg_at_k(gains[np.argsort(-scores, kind="stable")], k, ideal_gains=gains)


def retrieval_ndcg(gains: Mapping[Product, float], ranked: Sequence[Product], k: int) -> float:
    """Return the `ndcg_at_k` of products ranked out of a whole catalogue, best first; one without a gain counts 0."""
    return ndcg_at_k([gains.get(one, 0.0) for one in ranked[:k]], k, ideal_gains=list(gains.values()))


def chance_ndcg(gains: npt.NDArray[np.floating], k: int, *, among: int) -> float:
    """Return the expected `ndcg_at_k` of a random order of `among` products: each place holds their mean gain."""
    return ndcg_at_k([gains.sum() / among] * min(k, among), k, ideal_gains=gains)


def basket_figures(ranked: Sequence[Product], basket: Collection[Product], k: int) -> tuple[float, float]:
    """Return `basket_recall_at_k`, and the `ndcg_at_k` that gives each product of the basket gain 1."""
    return basket_recall_at_k(ranked, basket, k), retrieval_ndcg(dict.fromkeys(basket, 1.0), ranked, k)


def chance_basket_figures(basket: int, k: int, *, among: int) -> tuple[float, float]:
    """Return the expected `basket_figures` of a random order of `among` products, for a basket of that many of them."""
    recall = min(k, among) / among * basket / min(k, basket)
    return recall, chance_ndcg(np.ones(basket), k, among=among)


def _check_k(k: int) -> None:
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")


def _discounted(gains: npt.NDArray[np.float64]) -> float:
    return float(gains @ (1.0 / np.log2(np.arange(2, len(gains) + 2, dtype=np.float64))))
