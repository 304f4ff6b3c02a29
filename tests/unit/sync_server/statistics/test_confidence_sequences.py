"""Intervals that may be looked at often: they hold what they promise, and agree with published values."""

import math

import numpy as np
import pytest

from sync_server.statistics.confidence_sequences import (
    ANY_SHARES,
    RatioSums,
    normal_radius,
    ratio_difference,
    share_interval,
)


def sums(clicks, shown):
    clicks, shown = np.asarray(clicks, float), np.asarray(shown, float)
    return RatioSums(
        len(clicks), clicks.sum(), shown.sum(), (clicks**2).sum(), (clicks * shown).sum(), (shown**2).sum()
    )


@pytest.mark.parametrize(("yes", "of"), [(0, 1), (0, 100), (1, 1), (3, 50), (50, 50), (500, 1_000)])
def test_interval_of_a_share_surrounds_the_estimate_and_narrows(yes, of):
    found = share_interval(yes, of, alpha=0.05)
    assert 0 <= found.lower <= yes / of <= found.upper <= 1
    more = share_interval(yes * 10, of * 10, alpha=0.05)
    assert more.upper - more.lower < found.upper - found.lower


def test_nothing_seen_excludes_nothing():
    assert (share_interval(0, 0, alpha=0.05).lower, share_interval(0, 0, alpha=0.05).upper) == (0.0, 1.0)


@pytest.mark.parametrize("prior", [(0.5, 5.0), ANY_SHARES])
def test_share_is_inside_at_every_look_as_often_as_promised(prior):
    """300 sequences of 600 units, looked at every tenth: a fixed-size interval would fail in about half of them."""
    chance = np.random.default_rng(0)
    missed = 0
    for _ in range(300):
        yes = np.cumsum(chance.random(600) < 0.03)
        found = [share_interval(int(yes[n - 1]), n, alpha=0.1, prior=prior) for n in range(10, 601, 10)]
        missed += any(not one.lower <= 0.03 <= one.upper for one in found)
    assert missed / 300 <= 0.1


def test_difference_is_inside_at_every_look_as_often_as_promised():
    """Devices differ from one another, and one device's impressions come together."""
    chance = np.random.default_rng(1)
    missed = 0
    for _ in range(200):
        rates = chance.beta(2, 18, (2, 600))
        shown = chance.poisson(10, (2, 600)) + 1
        clicks = chance.binomial(shown, rates)
        for n in range(50, 601, 50):
            found = ratio_difference(sums(clicks[0, :n], shown[0, :n]), sums(clicks[1, :n], shown[1, :n]), alpha=0.1)
            if not found.lower <= 0 <= found.upper:
                missed += 1
                break
    assert missed / 200 <= 0.1


def test_few_devices_or_clicks_decide_nothing():
    few, many = sums([5] * 40, [10] * 40), sums([1] * 500, [10] * 500)
    silent = sums([0] * 500, [10] * 500)
    for treated, control in ((few, many), (many, few), (silent, many)):
        found = ratio_difference(treated, control, alpha=0.05)
        assert math.isinf(found.lower) and math.isinf(found.upper)


def test_variance_is_that_of_the_ratio_between_devices():
    chance = np.random.default_rng(2)
    shown = chance.poisson(10, (2_000, 100)) + 1
    clicks = chance.binomial(shown, chance.beta(2, 18, (2_000, 100)))
    true = np.var(clicks.sum(1) / shown.sum(1))
    estimated = np.mean([sums(c, s).variance for c, s in zip(clicks, shown, strict=True)])
    assert estimated == pytest.approx(true, rel=0.1)


def test_radius_is_wider_than_a_fixed_interval_and_shrinks():
    assert normal_radius(1.0, 500, alpha=0.05) > 1.96
    assert normal_radius(1 / 5_000, 5_000, alpha=0.05) < normal_radius(1 / 500, 500, alpha=0.05)
    assert math.isinf(normal_radius(1.0, 0, alpha=0.05))
