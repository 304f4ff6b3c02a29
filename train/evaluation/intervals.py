"""Bootstrap intervals over queries: rows of one query are averaged first, since copies of a query are not independent.

Every interval of the project is computed from `draw_rows`. docs/decisions/0006-a-bootstrap-of-our-own.md says why.
"""

from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.types import Float64

Values = Sequence[float] | npt.NDArray[np.floating]

DRAWS = 2_000
"""Fifty resamples then lie beyond either end of an interval."""


class Estimate(NamedTuple):
    """A mean over queries and its 95% percentile bootstrap interval."""

    mean: float
    ci95: tuple[float, float]


def draw_rows(count: int, draws: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield `draws` times int64 [count]: rows drawn with replacement from `count` rows, one row a query (or a user).

    Raises:
        ValueError: no rows.
    """
    if count < 1:
        raise ValueError("a bootstrap needs at least one value")
    random = np.random.default_rng(seed)
    for _ in range(draws):
        yield random.integers(0, count, size=count)


def percentile_interval(drawn: Values) -> tuple[float, float]:
    """Return the 95% percentile interval of a figure that was computed on each resample."""
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def mean_by_query(values: Values, queries: Sequence[Hashable]) -> Float64:
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


def estimate_mean(
    values: Values, *, queries: Sequence[Hashable] | None = None, draws: int = DRAWS, seed: int = 0
) -> Estimate:
    """Return the mean over queries and its interval.

    Args:
        values: float [rows], at least one.
        queries: the query of each row, whose rows are averaged first; None when each row is a query of its own.
        draws: number of resamples.
        seed: of the resamples; equal arguments give equal intervals.

    Raises:
        ValueError: no values, or another number of queries than of values.
    """
    rows = np.asarray(values, dtype=np.float64) if queries is None else mean_by_query(values, queries)
    means = [rows[drawn].mean() for drawn in draw_rows(len(rows), draws, seed)]
    return Estimate(float(rows.mean()), percentile_interval(means))


def estimate_difference(
    first: Values, second: Values, *, queries: Sequence[Hashable] | None = None, draws: int = DRAWS, seed: int = 0
) -> Estimate:
    """Return the mean of `first - second` over the same queries and its interval; each query's pair stays together.

    Args:
        first: float [rows].
        second: float [rows], in the same order.
        queries: see `estimate_mean`.
        draws: number of resamples.
        seed: of the resamples.

    Raises:
        ValueError: different lengths, or none.
    """
    if len(first) != len(second):
        raise ValueError(f"paired values must have one length, not {len(first)} and {len(second)}")
    rows = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    return estimate_mean(rows, queries=queries, draws=draws, seed=seed)


def paired_columns(first: Float64, second: Float64, *, queries: Sequence[Hashable]) -> list[tuple[float, float, float]]:
    """Return mean and 95% interval of the paired difference over queries for each column of float64 [rows, columns]."""
    found = [estimate_difference(*pair, queries=queries) for pair in zip(first.T, second.T, strict=True)]
    return [(difference.mean, *difference.ci95) for difference in found]


def share_of(above: Float64, below: Float64) -> float:
    """Return the mean of `above` divided by that of `below`, float64 [queries] each; a mean of `below` under 1e-9 is that."""
    return float(above.mean() / max(below.mean(), 1e-9))


def resampled_shares(above: Float64, below: Float64, *, draws: int = DRAWS, seed: int = 0) -> Float64:
    """Return float64 [draws]: `share_of` on each resample of the queries, drawn alike for both."""
    return np.array([share_of(above[drawn], below[drawn]) for drawn in draw_rows(len(above), draws, seed)])
