"""How long calls take: one way of timing for every figure of latency."""

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

LATENCY_RUNS, LATENCY_WARM_UP = 300, 30
"""Measured calls and calls before them: three calls above the 99th percentile, in under a second for most students."""


def call_times_ms(
    operation: Callable[[int], object],
    *,
    runs: int = LATENCY_RUNS,
    warm_up_runs: int = LATENCY_WARM_UP,
    clock: Callable[[], float] = time.perf_counter,
) -> npt.NDArray[np.float64]:
    """Return float64 [runs], the milliseconds of each call.

    Args:
        operation: called with the number of the run, from 0, by which it picks its input.
        runs: measured calls.
        warm_up_runs: calls before, numbered from 0 too, which do not count.
        clock: seconds that only grow.
    """
    for run in range(warm_up_runs):
        operation(run)
    taken_ms = np.empty(runs)
    for run in range(runs):
        started = clock()
        operation(run)
        taken_ms[run] = (clock() - started) * 1e3
    return taken_ms
