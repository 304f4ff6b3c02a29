"""Ranking metrics of one query; numpy only, so that every room may measure with them."""

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Sequence

import numpy as np
import numpy.typing as npt


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


def exposure_share(ranked_groups: Iterable[Sequence[str | None]], k: int) -> dict[str | None, float]:
    """Return each group's share of the attention that rankings give away; a product at position p gets 1 / log2(p + 1).

    Args:
        ranked_groups: for each query the group (seller) of each ranked product, best first.
        k: how many positions count.

    Returns:
        group -> share, largest first, summing to 1; empty when nothing was ranked.

    Raises:
        ValueError: `k` is not positive.
    """
    _check_k(k)
    exposure: dict[str | None, float] = defaultdict(float)
    discounts = _discounts(k)
    for groups in ranked_groups:
        for group, discount in zip(groups, discounts, strict=False):
            exposure[group] += float(discount)
    total = sum(exposure.values())
    return {group: value / total for group, value in sorted(exposure.items(), key=lambda pair: -pair[1])}


def _check_k(k: int) -> None:
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")


def _discounts(length: int) -> npt.NDArray[np.float64]:
    return 1.0 / np.log2(np.arange(2, length + 2, dtype=np.float64))


def _discounted(gains: npt.NDArray[np.float64]) -> float:
    return float(gains @ _discounts(len(gains)))
