"""Ratios of two equal groups, compared day by day: what a ramp and a weekend do to both is no difference."""

import math

import numpy as np
import pytest

from sync_server.statistics.confidence_sequences import mixture_radius, normal_radius
from sync_server.statistics.stratified import cell_sums, relative_change, stratified_sums, visible_loss

ALPHA = 0.05
DAYS = np.array([1.0, 1.0, 1.0, 0.9, 0.9, 1.0, 1.0])


def test_radius_agrees_with_the_reference_implementation():
    """confseq 0.0.11 tests its two-sided normal mixture (rho = 12.60056) by 30.35209 at v = 100, from its twin in R."""
    radius = mixture_radius(1 / 100, alpha=0.05, expected=1 / math.sqrt(12.60056))
    assert radius * 100 == pytest.approx(30.35209, abs=1e-4)


def test_radius_is_that_of_growing_samples_where_the_information_grows_with_them():
    rho2 = (-2 * math.log(ALPHA) + math.log(-2 * math.log(ALPHA) + 1)) / 500
    for units in (100, 1_000, 50_000):
        assert mixture_radius(1 / units, alpha=ALPHA, expected=math.sqrt(rho2)) == pytest.approx(
            normal_radius(1 / units, units, alpha=ALPHA)
        )
    assert math.isinf(mixture_radius(math.inf, alpha=ALPHA, expected=0.1))
    assert mixture_radius(0.0, alpha=ALPHA, expected=0.1) == 0.0


def drawn(chance, sizes, *, loss=0.0, cells=128):
    """Clicks and impressions [days, 2, cells] of groups of these sizes, whose rates are lower on two days."""
    shown = chance.poisson(20.0 * np.array(sizes)[:, None, None] / cells, (len(sizes), 2, cells)).astype(float)
    rates = 0.08 * DAYS[: len(sizes), None, None] * np.array([1.0 - loss, 1.0])[None, :, None]
    return chance.binomial(shown.astype(int), rates).astype(float), shown


def test_weekend_within_a_ramp_is_no_difference():
    """The old side grows from 99,000 devices down, the new side from 1,000 up: pooled, the weekend would be a loss."""
    chance = np.random.default_rng(0)
    shares = np.array([0.01, 0.01, 0.05, 0.5, 0.5, 0.5, 0.5])
    sizes = np.stack([shares, 1 - shares], axis=1) * 100_000
    shown = np.repeat(20.0 * sizes[:, :, None] / 128, 128, axis=2)
    clicks = chance.poisson(shown * 0.08 * DAYS[:, None, None]).astype(float)
    pooled = [cell_sums(clicks[:, side].sum(axis=0), shown[:, side].sum(axis=0)) for side in (0, 1)]
    assert relative_change(*pooled, alpha=ALPHA, expected=0.1).upper < 0
    found = relative_change(*stratified_sums(clicks, shown), alpha=ALPHA, expected=0.1)
    assert found.lower < 0 < found.upper and abs(found.estimate) < 0.005


def test_change_is_inside_at_every_look_as_often_as_promised():
    chance = np.random.default_rng(1)
    sizes = [500, 500, 500, 2_500, 2_500, 2_500, 2_500]
    missed = 0
    for _ in range(400):
        clicks, shown = drawn(chance, sizes, loss=0.05)
        looks = (
            relative_change(*stratified_sums(clicks[:day], shown[:day]), alpha=0.1, expected=0.1) for day in range(1, 8)
        )
        missed += any(not found.lower <= -0.05 <= found.upper for found in looks)
    assert missed / 400 <= 0.1


def test_days_with_one_side_only_count_for_nothing():
    clicks, shown = drawn(np.random.default_rng(2), [500] * 4)
    whole = stratified_sums(clicks[:3], shown[:3])
    clicks[3, 0] = shown[3, 0] = 0.0
    assert stratified_sums(clicks, shown) == whole
    nothing = relative_change(*stratified_sums(clicks[3:], shown[3:]), alpha=ALPHA, expected=0.1)
    assert math.isinf(nothing.lower) and math.isinf(nothing.upper)


def test_loss_that_a_stage_shows_is_found_in_half_of_all_cases_and_twice_of_it_nearly_always():
    devices, days, cells = 5_000, 1.0, 128
    spread = (1 - 0.08) / (0.08 * 20)
    loss = visible_loss(devices, spread=spread, days=days, alpha=ALPHA, expected=0.1) * 0.5  # half a day is lost
    chance, found = np.random.default_rng(3), {}
    for times in (1, 2):
        halts = 0
        for _ in range(200):
            clicks, shown = drawn(chance, [devices], loss=loss * times, cells=cells)
            halts += relative_change(*stratified_sums(clicks, shown), alpha=ALPHA, expected=0.1).upper < 0
        found[times] = halts / 200
    assert 0.35 < found[1] < 0.65 and found[2] > 0.99
    more = visible_loss(devices, spread=spread, days=days, alpha=ALPHA, expected=0.1, power=0.9)
    assert more > visible_loss(devices, spread=spread, days=days, alpha=ALPHA, expected=0.1)
    assert math.isinf(visible_loss(0, spread=spread, days=days, alpha=ALPHA, expected=0.1))
