"""Demand as part of the item vectors: how much of each product is sold at a time, and how often it is bought again.

Customers buy again what everybody buys at that time of the year, and what is used up. Texts say neither. Both are
measured from the purchases before a moment: for each basket, training uses only what was known when it was bought; the
catalogue gets the latest values. They are added along the directions that the texts use least, where they hardly change
the scores of searches.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.types import Float32, Int32

Float64 = npt.NDArray[np.float64]

DAY_S = 86_400.0
SIGNALS = 3
"""Recent demand, demand over a longer time, and the repurchase rate of the product."""

PERIODS = 52
"""Training looks at demand at so many moments, evenly spaced between the first basket and the last."""

SLOW_HALF_LIVES = 4.0
RETURN_HALF_LIVES = 24.0
"""How often a product returns changes more slowly than demand, and is seen less often: so many half-lives of demand."""

FLOOR_SHARE = 0.1
"""A bought product counts at least this share of the mean, so that the logarithm of none is no cliff."""

RETURN_PRIOR = 10.0
"""Smoothing: the mean repurchase rate counts as much as this number of buyers."""

CLIP = 3.0


@dataclass(frozen=True)
class Sale:
    """One basket as demand sees it: when, its rows, and which of the rows bought before came back.

    Attributes:
        time_s: when it was bought.
        rows: distinct products in it.
        owned: distinct products that the user had bought before.
    """

    time_s: float
    rows: Int32
    owned: Int32


class Demand:
    """Signals float32 [products, `SIGNALS`] at any moment between the first sale and the last, and after the last.

    Each signal has mean 0 and deviation 1 over the products that were bought by then; others have 0, as a product that
    nobody has bought yet is taken for an average one.
    """

    def __init__(self, sales: Sequence[Sale], *, products: int, half_life_days: float) -> None:
        """Measure at `PERIODS` moments and at the end.

        Args:
            sales: in any order; without any all signals are 0.
            products: how many the shop has.
            half_life_days: a basket counts half as much as one that is so many days younger.

        Raises:
            ValueError: `half_life_days` is not above 0.
        """
        if not half_life_days > 0:
            raise ValueError(f"half_life_days is {half_life_days}, expected more than 0")
        ordered = sorted(sales, key=lambda sale: sale.time_s)
        first, last = (ordered[0].time_s, ordered[-1].time_s) if ordered else (0.0, 0.0)
        self._moments: Float64 = np.linspace(first, last, PERIODS, endpoint=False)
        state = _Counts(products, first, half_life_days * DAY_S)
        measured, place = [], 0
        for moment in (*self._moments.tolist(), np.inf):
            while place < len(ordered) and ordered[place].time_s < moment:
                state.add(ordered[place])
                place += 1
            measured.append(state.signals())
        self._measured = measured

    def period_of(self, time_s: float) -> int:
        """Return the number of the last moment that is not after `time_s`."""
        return max(0, int(np.searchsorted(self._moments, time_s, side="right")) - 1)

    def known_at(self, period: int) -> Float32:
        """Return what was known at the beginning of a period."""
        return self._measured[period]

    @property
    def latest(self) -> Float32:
        """What is known after the last sale."""
        return self._measured[-1]


class _Counts:
    """Decayed counts of sales; kept relative to a moment that moves along."""

    def __init__(self, products: int, start_s: float, half_life_s: float) -> None:
        self._now, self._half_life = start_s, half_life_s
        self._sold, self._sold_slowly, self._owned, self._returned = (np.zeros(products) for _ in range(4))
        self._ever = np.zeros(products, dtype=np.bool_)

    def add(self, sale: Sale) -> None:
        passed = (sale.time_s - self._now) / self._half_life
        self._now = sale.time_s
        self._sold *= 0.5**passed
        self._sold_slowly *= 0.5 ** (passed / SLOW_HALF_LIVES)
        for slow in (self._owned, self._returned):
            slow *= 0.5 ** (passed / RETURN_HALF_LIVES)
        for sold in (self._sold, self._sold_slowly):
            sold[sale.rows] += 1.0
        self._ever[sale.rows] = True
        self._owned[sale.owned] += 1.0
        self._returned[np.intersect1d(sale.owned, sale.rows)] += 1.0

    def signals(self) -> Float32:
        if not self._ever.any():
            return np.zeros((len(self._ever), SIGNALS), dtype=np.float32)
        demands = [np.log(sold / sold[self._ever].mean() + FLOOR_SHARE) for sold in (self._sold, self._sold_slowly)]
        mean_return = (self._returned.sum() + 1.0) / (self._owned.sum() + 2.0)
        again = np.log((self._returned + RETURN_PRIOR * mean_return) / (self._owned + RETURN_PRIOR))
        return np.stack([self._standardized(one) for one in (*demands, again)], axis=1)

    def _standardized(self, values: Float64) -> Float32:
        known = values[self._ever]
        result = np.zeros(len(values), dtype=np.float32)
        result[self._ever] = np.clip((known - known.mean()) / max(float(known.std()), 1e-9), -CLIP, CLIP)
        return result


def least_used_directions(vectors: Float32, count: int) -> Float32:
    """Return float32 [count, dim]: orthogonal unit directions in which `vectors` [N, dim] extend least.

    These are the eigenvectors of the smallest eigenvalues of the vectors' Gram matrix.
    """
    _, directions = np.linalg.eigh(vectors.T.astype(np.float64) @ vectors)
    return np.ascontiguousarray(directions[:, :count].T, dtype=np.float32)
