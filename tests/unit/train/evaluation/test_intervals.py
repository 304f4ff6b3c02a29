"""Bootstrap intervals: seeded, as wide as theory says, and no narrower for copies of a query."""

import math

import numpy as np
import pytest

from train.evaluation.intervals import bootstrap_interval, mean_by_query, paired_bootstrap


def test_bootstrap_interval_is_seeded_and_holds_the_mean():
    values = np.random.default_rng(1).random(150)
    low, high = bootstrap_interval(values)
    assert (low, high) == bootstrap_interval(values)
    assert low < values.mean() < high
    # 95% of a normal mean lies within 1.96 standard errors.
    assert high - low == pytest.approx(2 * 1.96 * values.std() / math.sqrt(150), rel=0.15)
    assert (low, high) != bootstrap_interval(values, seed=1)


def test_bootstrap_of_equal_values_has_no_width():
    assert bootstrap_interval([0.5] * 20) == (0.5, 0.5)


def test_bootstrap_without_values_or_with_a_wrong_level_is_refused():
    with pytest.raises(ValueError, match="at least one value"):
        bootstrap_interval([])
    with pytest.raises(ValueError, match="level"):
        bootstrap_interval([1.0], level=95)


def test_paired_bootstrap_finds_a_small_but_steady_difference():
    base = np.random.default_rng(2).random(100)
    steady = paired_bootstrap(base + 0.01, base)
    assert steady.mean == pytest.approx(0.01)
    assert steady.ci95[0] > 0
    assert steady.share_positive == 1.0
    assert paired_bootstrap(base, base).ci95 == (0.0, 0.0)


def test_paired_bootstrap_needs_pairs():
    with pytest.raises(ValueError, match="one length"):
        paired_bootstrap([1.0, 2.0], [1.0])


def test_rows_of_one_query_are_averaged_in_the_order_of_first_appearance():
    rows = [[1.0, 2.0], [5.0, 6.0], [3.0, 4.0]]
    np.testing.assert_array_equal(mean_by_query(rows, ["lamp", "sofa", "lamp"]), [[2.0, 3.0], [5.0, 6.0]])
    with pytest.raises(ValueError, match="not 2 for 3"):
        mean_by_query(rows, ["lamp", "sofa"])


def test_copies_of_a_query_do_not_narrow_its_interval():
    once = np.random.default_rng(3).random(46)
    queries = [f"query {number}" for number in range(46)]
    assert bootstrap_interval(np.tile(once, 4), queries=queries * 4) == pytest.approx(bootstrap_interval(once))
    paired = paired_bootstrap(np.tile(once, 4), np.zeros(184), queries=queries * 4)
    assert paired.ci95 == pytest.approx(paired_bootstrap(once, np.zeros(46)).ci95)
    assert paired.mean == pytest.approx(once.mean())


def test_unequal_numbers_of_copies_count_each_query_once():
    rows, queries = [1.0, 1.0, 1.0, 0.0], ["often", "often", "often", "once"]
    assert paired_bootstrap(rows, [0.0] * 4, queries=queries).mean == 0.5
    averaged = bootstrap_interval([1.0, 0.0])
    assert bootstrap_interval(rows, queries=queries) == averaged


def test_the_interval_covers_the_truth_when_folds_of_a_query_agree():
    random = np.random.default_rng(4)
    covered, rounds, queries = 0, 200, list(range(40)) * 4
    for _ in range(rounds):
        own = random.normal(size=40)
        rows = np.tile(own, 4) + 0.3 * random.normal(size=160)
        low, high = bootstrap_interval(rows, queries=queries, draws=400)
        covered += low <= 0.0 <= high
    assert 0.90 <= covered / rounds <= 0.99
