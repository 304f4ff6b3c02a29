"""How often a product was counted, told from noisy reports (contract/counts.py), with the estimate's error.

Let a report use hash function h and flip bits with probability q. (bit - q) / (1 - 2q) is the true bit on average. A row
with one true bit sets a given other bit's place with probability 1/BITS, so from the wanted bit the mean of all bits is
taken away, times BITS / (BITS - 1). Added over reports that is the count of the product, on average over noise and hash
functions. Its variance is read off how far the hash functions, each an independent sample of devices, disagree: that
holds the noise, the collisions and the choice of devices together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.counts import BITS, HASHES, CountedKind, bit_of, flip_probability

_Z95 = 1.959964


@dataclass(frozen=True)
class CountEstimate:
    """In how many reports a product and kind was the one that the device picked, with a 95% interval."""

    product_id: str
    kind: CountedKind
    count: float
    low: float
    high: float


@dataclass
class CountSums:
    """Reports added up by hash function, the noise taken out on average.

    Attributes:
        reports: how many were added.
        reports_by_epsilon: privacy loss of a report -> how many had it.
    """

    reports: int = 0
    reports_by_epsilon: dict[float, int] = field(default_factory=dict)
    _sums: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((HASHES, BITS)))

    def add(self, hash_number: int, epsilon: float, bits: bytes) -> None:
        """Add one report, whose fields were checked by `check_report`."""
        flip = flip_probability(epsilon)
        row = np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")
        self._sums[hash_number] += (row - flip) / (1 - 2 * flip)
        self.reports += 1
        self.reports_by_epsilon[epsilon] = self.reports_by_epsilon.get(epsilon, 0) + 1

    def estimate(self, product_ids: Sequence[str], kind: CountedKind) -> list[CountEstimate]:
        """Return the estimate of each product; below zero means: not told from none."""
        # float64 [HASHES, BITS]: each hash function's own estimate of every bit's count.
        centered = (self._sums - self._sums.mean(axis=1, keepdims=True)) * (BITS / (BITS - 1))
        answers = []
        for product_id in product_ids:
            parts = centered[np.arange(HASHES), [bit_of(kind, product_id, number) for number in range(HASHES)]]
            error = _Z95 * float(np.sqrt(np.var(parts, ddof=1) * HASHES))
            count = float(parts.sum())
            answers.append(CountEstimate(product_id, kind, count, count - error, count + error))
        return answers
