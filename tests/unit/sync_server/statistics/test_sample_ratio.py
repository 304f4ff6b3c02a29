"""Devices that were not assigned as planned are noticed, and looking often finds no mismatch where there is none."""

import math

import numpy as np
import pytest

from sync_server.statistics.sample_ratio import CONCENTRATION, sample_ratio_p_value


@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.9, 0.1], [0.2, 0.3, 0.5]])
def test_devices_assigned_as_planned_are_rarely_suspected_at_any_look(shares):
    """A chi-square test at the same looks suspects more than a fifth of them."""
    looks, alpha = range(20, 4_000, 20), 0.05
    suspected = 0
    for seed in range(200):
        drawn = np.random.default_rng(seed).choice(len(shares), size=4_000, p=shares)
        counts = np.cumsum(drawn[:, None] == np.arange(len(shares)), axis=0)
        suspected += any(sample_ratio_p_value(counts[look].tolist(), shares) < alpha for look in looks)
    assert suspected <= 200 * alpha + 2 * math.sqrt(200 * alpha)


def test_shares_off_the_plan_are_found():
    assert sample_ratio_p_value([150, 50], [0.5, 0.5]) < 1e-6
    assert sample_ratio_p_value([5_250, 4_750], [0.5, 0.5]) < 1e-3
    assert sample_ratio_p_value([9_500, 500, 0], [0.9, 0.05, 0.05]) < 1e-9


def test_no_devices_and_no_variants_are_no_mismatch():
    assert sample_ratio_p_value([0, 0], [0.5, 0.5]) == sample_ratio_p_value([], []) == 1.0


def test_value_is_the_ratio_of_mixed_and_planned_likelihood():
    """For a single device of two variants the mixed likelihood is the planned share itself."""
    assert sample_ratio_p_value([1, 0], [0.3, 0.7]) == pytest.approx(1.0)
    prior = 0.5 * CONCENTRATION
    mixed = prior * (prior + 1) / (CONCENTRATION * (CONCENTRATION + 1))
    assert sample_ratio_p_value([2, 0], [0.5, 0.5]) == pytest.approx(0.25 / mixed)
