"""Ranking metrics, their intervals and the folds of queries; numpy only, so that every room may measure with them."""

import zlib
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FOLDS = 5
SAME_QUERY_JACCARD = 0.6
"""Two queries whose sets of words overlap by this much ask for the same thing and must not be split over folds."""


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


def bootstrap_interval(
    values: Sequence[float] | npt.NDArray[np.floating], *, level: float = 0.95, draws: int = 2_000, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean of `values`, one value a query.

    Args:
        values: float [queries], at least one.
        level: share of the bootstrap means inside the interval.
        draws: number of resamples.
        seed: of the resamples; equal arguments give equal intervals.

    Raises:
        ValueError: no values, or a level outside 0 … 1.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must be between 0 and 1, not {level}")
    means = _bootstrap_means(np.asarray(values, dtype=np.float64), draws, seed)
    low, high = np.quantile(means, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)


@dataclass(frozen=True)
class PairedDifference:
    """Mean of `first - second` over the same queries, its 95% interval, and how often a resample's mean is above 0."""

    mean: float
    ci95: tuple[float, float]
    share_positive: float


def paired_bootstrap(
    first: Sequence[float] | npt.NDArray[np.floating],
    second: Sequence[float] | npt.NDArray[np.floating],
    *,
    draws: int = 2_000,
    seed: int = 0,
) -> PairedDifference:
    """Compare two systems on the same queries: resample queries, keep each query's pair together.

    Args:
        first: float [queries].
        second: float [queries], in the same order.
        draws: number of resamples.
        seed: of the resamples.

    Raises:
        ValueError: different lengths, or none.
    """
    if len(first) != len(second):
        raise ValueError(f"paired values must have one length, not {len(first)} and {len(second)}")
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    means = _bootstrap_means(differences, draws, seed)
    low, high = np.quantile(means, [0.025, 0.975])
    return PairedDifference(
        mean=float(differences.mean()), ci95=(float(low), float(high)), share_positive=float((means > 0.0).mean())
    )


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


def query_fold(query: str, *, folds: int = FOLDS) -> int:
    """Return the fold of a judged query, 0 … folds - 1: the CRC-32 of its stripped lower-case text, modulo `folds`."""
    return zlib.crc32(query.strip().lower().encode()) % folds


def assign_folds(judged_queries: Iterable[str], other_queries: Iterable[str], *, folds: int = FOLDS) -> dict[str, int]:
    """Return the fold of every query, such that no query leaks into another fold as a near copy of a judged one.

    A judged query has its own `query_fold`. Another query takes the fold of the judged query whose set of lower-case
    words overlaps it most, when the Jaccard overlap is at least `SAME_QUERY_JACCARD` (the first such one on a tie), and
    its own `query_fold` otherwise.

    Args:
        judged_queries: queries on which quality is reported.
        other_queries: further queries that may train; one that is also judged counts as judged.
        folds: how many folds.
    """
    assigned = {query: query_fold(query, folds=folds) for query in judged_queries}
    judged = list(assigned)
    words = [frozenset(query.lower().split()) for query in judged]
    holders: dict[str, list[int]] = defaultdict(list)
    for index, query_words in enumerate(words):
        for word in query_words:
            holders[word].append(index)
    for query in other_queries:
        if query not in assigned:
            nearest = _nearest_query(frozenset(query.lower().split()), words, holders)
            assigned[query] = query_fold(query if nearest is None else judged[nearest], folds=folds)
    return assigned


def _nearest_query(
    query_words: frozenset[str], words: Sequence[frozenset[str]], holders: dict[str, list[int]]
) -> int | None:
    candidates = {index for word in query_words for index in holders.get(word, ())}
    best, best_overlap = None, 0.0
    for index in sorted(candidates):
        overlap = len(query_words & words[index]) / len(query_words | words[index])
        if overlap >= SAME_QUERY_JACCARD and overlap > best_overlap:
            best, best_overlap = index, overlap
    return best


def _check_k(k: int) -> None:
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")


def _discounts(length: int) -> npt.NDArray[np.float64]:
    return 1.0 / np.log2(np.arange(2, length + 2, dtype=np.float64))


def _discounted(gains: npt.NDArray[np.float64]) -> float:
    return float(gains @ _discounts(len(gains)))


def _bootstrap_means(values: npt.NDArray[np.float64], draws: int, seed: int) -> npt.NDArray[np.float64]:
    if values.size == 0:
        raise ValueError("a bootstrap needs at least one value")
    random = np.random.default_rng(seed)
    means = [values[random.integers(0, values.size, size=values.size)].mean() for _ in range(draws)]
    return np.array(means)
