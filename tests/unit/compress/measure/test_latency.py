"""Timing of calls: which are counted, and which input each is given."""

import pytest

from compress.measure.latency import call_times_ms


def test_calls_after_the_warm_up_are_timed_and_numbered_from_zero():
    ticks = iter(range(100))
    runs = []
    taken = call_times_ms(runs.append, runs=3, warm_up_runs=2, clock=lambda: next(ticks) * 0.002)
    assert taken.tolist() == pytest.approx([2.0] * 3)
    assert runs == [0, 1, 0, 1, 2]
    assert next(ticks) == 6
