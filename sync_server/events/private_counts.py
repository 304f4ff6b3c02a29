"""Reports under local differential privacy (contract/counts.py): each is stored once; their sums estimate counts.

A report flips each bit with probability q, so (bit - q) / (1 - 2q) is the true bit on average. Another product's bit falls
on the same place with probability 1/BITS. To correct for that, the mean of all bits is subtracted from the product's bit, and
the difference is multiplied by BITS / (BITS - 1). The sum over reports is the count of the product, on average over noise and
hash functions. Each hash function is used by an independent sample of devices. The variance between their estimates
therefore covers the noise, the collisions and the choice of devices.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine, insert, select

from edge_runtime.contract.counts import BITS, HASHES, CountReport, CountSettings, bit_of, flip_probability
from sync_server.database.engine import every_row, write_session
from sync_server.database.tables.counts import CountRow

# The quantile of the normal distribution for a two-sided 95% interval.
_Z95 = 1.959964
WAITING_WINDOWS = 7
"""How many windows that are over a report may be of: a device without network for a week loses no report of a day. A
forged report weighs as much as an honest one, and one device has one for each of these windows, then one a window."""


@dataclass(frozen=True)
class CountEstimate:
    """How many reports picked a product and kind, with a 95% interval."""

    product_id: str
    kind: str
    count: float
    low: float
    high: float


@dataclass
class CountSums:
    """Sums of reports for each hash function, corrected for the noise.

    Attributes:
        reports: how many were added.
        reports_by_epsilon: privacy loss of a report -> number of reports with it.
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

    def estimate(self, product_ids: Sequence[str], kind: str) -> list[CountEstimate]:
        """Return the estimate of each product; a count below zero means about zero."""
        # float64 [HASHES, BITS]: each hash function's own estimate of every bit's count.
        centered = (self._sums - self._sums.mean(axis=1, keepdims=True)) * (BITS / (BITS - 1))
        answers = []
        for product_id in product_ids:
            parts = centered[np.arange(HASHES), [bit_of(kind, product_id, number) for number in range(HASHES)]]
            error = _Z95 * float(np.sqrt(np.var(parts, ddof=1) * HASHES))
            count = float(parts.sum())
            answers.append(CountEstimate(product_id, kind, count, count - error, count + error))
        return answers


def refusal_of(report: CountReport, settings: CountSettings, *, now_s: float) -> str | None:
    """Return the sentence by which a report is refused for good; None when it may be stored.

    Args:
        report: its fields were checked by `check_report`.
        settings: those that every report must be made by, since the estimates add reports up.
        now_s: seconds since 1970.
    """
    if (report.epsilon, report.window_s) != (settings.epsilon, settings.window_s):
        return (
            f"reports here have epsilon {settings.epsilon:g} and windows of {settings.window_s} s, this one has "
            f"{report.epsilon:g} and {report.window_s} s; change counts in the device's node.json"
        )
    # The running window is taken: a device whose clock is somewhat ahead closes its window early.
    running = int(now_s // settings.window_s)
    if report.window > running:
        return "the report's window lies in the future; set the device's clock"
    if report.window < running - WAITING_WINDOWS:
        return f"the report's window ended more than {WAITING_WINDOWS} windows ago"
    return None


def store_report(engine: Engine, report: CountReport, *, now_s: float) -> bool:
    """Store a report; return False when the report of its window is stored already.

    Raises:
        StorageError: the database cannot be written.
    """
    values = {
        "device_id": report.device_id,
        "window_number": report.window,
        "received_at_s": now_s,
        **{name: getattr(report, name) for name in ("window_s", "epsilon", "hash_number", "bits")},
    }
    same = (CountRow.device_id == report.device_id, CountRow.window_number == report.window)
    with write_session(engine) as session:
        # Of two requests at once the unique constraint refuses the later one. Its device sends again and finds the first.
        if session.scalar(select(CountRow.id).where(*same, CountRow.window_s == report.window_s)) is not None:
            return False
        session.execute(insert(CountRow).values(values))
    return True


def sum_reports(
    engine: Engine, settings: CountSettings, *, from_s: float = 0.0, until_s: float = float("inf")
) -> CountSums:
    """Add up the reports of these settings whose windows began in a span of time; others are left out.

    Raises:
        StorageError: the database cannot be read.
    """
    sums = CountSums()
    same = (CountRow.epsilon == settings.epsilon, CountRow.window_s == settings.window_s)
    for row in every_row(engine, CountRow, CountRow.id, *same):
        if from_s <= row.window_number * row.window_s < until_s:
            sums.add(row.hash_number, row.epsilon, row.bits)
    return sums
