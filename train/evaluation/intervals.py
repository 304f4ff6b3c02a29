"""Bootstrap intervals over queries: rows of one query are averaged first, since copies of a query are no further evidence."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = Sequence[float] | npt.NDArray[np.floating]


@dataclass(frozen=True)
class PairedDifference:
    """Mean of `first - second` over the same queries, its 95% interval, and how often a resample's mean is above 0."""

    mean: float
    ci95: tuple[float, float]
    share_positive: float


def mean_by_query(values: Values, queries: Sequence[Hashable]) -> npt.NDArray[np.float64]:
    """Return float64 [distinct queries, ...]: the mean of each query's rows, in the order in which queries first appear.

    Args:
        values: float [rows, ...].
        queries: the query of each row.

    Raises:
        ValueError: different lengths.
    """
    rows = np.asarray(values, dtype=np.float64)
    if len(rows) != len(queries):
        raise ValueError(f"expected one query for each row of values, not {len(queries)} for {len(rows)}")
    place = {query: index for index, query in enumerate(dict.fromkeys(queries))}
    of_row = np.array([place[query] for query in queries], dtype=np.int64)
    sums = np.zeros((len(place), *rows.shape[1:]))
    np.add.at(sums, of_row, rows)
    counts = np.bincount(of_row, minlength=len(place))
    return sums / counts.reshape(-1, *[1] * (rows.ndim - 1))


def bootstrap_interval(
    values: Values,
    *,
    queries: Sequence[Hashable] | None = None,
    level: float = 0.95,
    draws: int = 2_000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean over queries.

    Args:
        values: float [rows], at least one.
        queries: the query of each row, whose rows are averaged first; None when each row is a query of its own.
        level: share of the bootstrap means inside the interval.
        draws: number of resamples.
        seed: of the resamples; equal arguments give equal intervals.

    Raises:
        ValueError: no values, a level outside 0 … 1, or another number of queries than of values.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must be between 0 and 1, not {level}")
    means = _bootstrap_means(_one_a_query(values, queries), draws, seed)
    low, high = np.quantile(means, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)


def paired_bootstrap(
    first: Values,
    second: Values,
    *,
    queries: Sequence[Hashable] | None = None,
    draws: int = 2_000,
    seed: int = 0,
) -> PairedDifference:
    """Compare two systems on the same queries: resample queries, keep each query's pair together.

    Args:
        first: float [rows].
        second: float [rows], in the same order.
        queries: the query of each row, whose differences are averaged first; None when each row is a query of its own.
        draws: number of resamples.
        seed: of the resamples.

    Raises:
        ValueError: different lengths, or none.
    """
    if len(first) != len(second):
        raise ValueError(f"paired values must have one length, not {len(first)} and {len(second)}")
    rows = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    differences = _one_a_query(rows, queries)
    means = _bootstrap_means(differences, draws, seed)
    low, high = np.quantile(means, [0.025, 0.975])
    return PairedDifference(
        mean=float(differences.mean()), ci95=(float(low), float(high)), share_positive=float((means > 0.0).mean())
    )


def paired_columns(
    first: npt.NDArray[np.float64], second: npt.NDArray[np.float64], *, queries: Sequence[Hashable]
) -> list[tuple[float, float, float]]:
    """Return mean and 95% interval of the paired difference over queries for each column of float64 [rows, columns]."""
    pairs = zip(first.T, second.T, strict=True)
    found = [paired_bootstrap(one, other, queries=queries) for one, other in pairs]
    return [(difference.mean, *difference.ci95) for difference in found]


def _one_a_query(values: Values, queries: Sequence[Hashable] | None) -> npt.NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64) if queries is None else mean_by_query(values, queries)


def _bootstrap_means(values: npt.NDArray[np.float64], draws: int, seed: int) -> npt.NDArray[np.float64]:
    if values.size == 0:
        raise ValueError("a bootstrap needs at least one value")
    random = np.random.default_rng(seed)
    means = [values[random.integers(0, values.size, size=values.size)].mean() for _ in range(draws)]
    return np.array(means)
