"""Bootstrap intervals: seeded, as wide as theory says, and no narrower for copies of a query."""

import math

import numpy as np
import pytest

from train.evaluation.intervals import (
    estimate_difference,
    estimate_mean,
    mean_by_query,
    percentile_interval,
    resampled_shares,
    share_of,
)


def test_bootstrap_interval_is_seeded_and_holds_the_mean():
    values = np.random.default_rng(1).random(150)
    mean, (low, high) = estimate_mean(values)
    assert (mean, (low, high)) == estimate_mean(values)
    assert low < mean == values.mean() < high
    # 95% of a normal mean lies within 1.96 standard errors.
    assert high - low == pytest.approx(2 * 1.96 * values.std() / math.sqrt(150), rel=0.15)
    assert (low, high) != estimate_mean(values, seed=1).ci95


def test_bootstrap_of_equal_values_has_no_width():
    assert estimate_mean([0.5] * 20) == (0.5, (0.5, 0.5))


def test_bootstrap_without_values_is_refused():
    with pytest.raises(ValueError, match="at least one value"):
        estimate_mean([])


def test_paired_difference_finds_a_small_but_steady_difference():
    base = np.random.default_rng(2).random(100)
    steady = estimate_difference(base + 0.01, base)
    assert steady.mean == pytest.approx(0.01)
    assert steady.ci95[0] > 0
    assert estimate_difference(base, base).ci95 == (0.0, 0.0)


def test_paired_difference_needs_pairs():
    with pytest.raises(ValueError, match="one length"):
        estimate_difference([1.0, 2.0], [1.0])


def test_rows_of_one_query_are_averaged_in_the_order_of_first_appearance():
    rows = [[1.0, 2.0], [5.0, 6.0], [3.0, 4.0]]
    np.testing.assert_array_equal(mean_by_query(rows, ["lamp", "sofa", "lamp"]), [[2.0, 3.0], [5.0, 6.0]])
    with pytest.raises(ValueError, match="not 2 for 3"):
        mean_by_query(rows, ["lamp", "sofa"])


def test_copies_of_a_query_do_not_narrow_its_interval():
    once = np.random.default_rng(3).random(46)
    queries = [f"query {number}" for number in range(46)]
    assert estimate_mean(np.tile(once, 4), queries=queries * 4).ci95 == pytest.approx(estimate_mean(once).ci95)
    paired = estimate_difference(np.tile(once, 4), np.zeros(184), queries=queries * 4)
    assert paired.ci95 == pytest.approx(estimate_difference(once, np.zeros(46)).ci95)
    assert paired.mean == pytest.approx(once.mean())


def test_unequal_numbers_of_copies_count_each_query_once():
    rows, queries = [1.0, 1.0, 1.0, 0.0], ["often", "often", "often", "once"]
    assert estimate_difference(rows, [0.0] * 4, queries=queries).mean == 0.5
    assert estimate_mean(rows, queries=queries) == estimate_mean([1.0, 0.0])


def test_the_interval_covers_the_truth_when_folds_of_a_query_agree():
    random = np.random.default_rng(4)
    covered, rounds, queries = 0, 200, list(range(40)) * 4
    for _ in range(rounds):
        own = random.normal(size=40)
        rows = np.tile(own, 4) + 0.3 * random.normal(size=160)
        low, high = estimate_mean(rows, queries=queries, draws=400).ci95
        covered += low <= 0.0 <= high
    assert 0.90 <= covered / rounds <= 0.99


def test_the_interval_of_a_share_draws_both_figures_of_a_query_together():
    below = np.random.default_rng(5).random(60) + 0.1
    assert share_of(0.9 * below, below) == pytest.approx(0.9)
    assert percentile_interval(resampled_shares(0.9 * below, below)) == pytest.approx((0.9, 0.9))
    noisy = 0.9 * below + np.random.default_rng(6).normal(scale=0.1, size=60)
    low, high = percentile_interval(resampled_shares(noisy, below))
    assert low < share_of(noisy, below) < high


def test_a_share_of_nothing_is_finite():
    assert share_of(np.zeros(3), np.zeros(3)) == 0.0
