"""Metrics against values worked out by hand, and the folds of the published protocol."""

import math
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.evaluation.metrics import (
    assign_folds,
    basket_recall_at_k,
    bootstrap_interval,
    exposure_share,
    ndcg_at_k,
    paired_bootstrap,
    query_fold,
    recall_at_k,
)


def test_ndcg_is_worked_out_by_hand():
    gained = 0.0 / 1 + 1.0 / math.log2(3) + 0.5 / 2
    ideal = 1.0 / 1 + 0.5 / math.log2(3)
    assert ndcg_at_k([0.0, 1.0, 0.5], 10, ideal_gains=[0.5, 0.0, 1.0]) == pytest.approx(gained / ideal)


def test_ndcg_cuts_ranking_and_ideal_at_k():
    assert ndcg_at_k([0.0, 0.0, 1.0], 2, ideal_gains=[1.0]) == 0.0
    # Two of three relevant ones at the first two places cannot be beaten.
    assert ndcg_at_k([1.0, 1.0], 2, ideal_gains=[1.0, 1.0, 1.0]) == pytest.approx(1.0)


def test_ndcg_counts_relevant_products_that_were_not_found():
    assert ndcg_at_k([1.0], 10, ideal_gains=[1.0, 1.0]) == pytest.approx(1.0 / (1.0 + 1.0 / math.log2(3)))


def test_ndcg_without_any_gain_is_zero():
    assert ndcg_at_k([0.0, 0.0], 10, ideal_gains=[0.0, 0.0]) == 0.0
    assert ndcg_at_k([], 10, ideal_gains=[]) == 0.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(1, 12))
def test_ndcg_of_any_order_stays_between_zero_and_the_best_order(gains, k):
    best = ndcg_at_k(sorted(gains, reverse=True), k, ideal_gains=gains)
    assert -1e-9 <= ndcg_at_k(gains, k, ideal_gains=gains) <= best + 1e-9 <= 1.0 + 2e-9


@pytest.mark.parametrize("measure", [lambda: ndcg_at_k([1.0], 0, ideal_gains=[1.0]), lambda: recall_at_k([1], [1], 0)])
def test_k_below_one_is_refused(measure):
    with pytest.raises(ValueError, match="k must be at least 1"):
        measure()


def test_recall_divides_by_all_relevant():
    assert recall_at_k(["a", "b", "c"], {"a", "c", "x", "y"}, 3) == 0.5
    assert recall_at_k(["a", "b", "c"], {"c"}, 2) == 0.0
    assert recall_at_k(["a"], set(), 5) == 0.0


def test_basket_recall_divides_by_the_smaller_of_k_and_basket():
    assert basket_recall_at_k(["a", "b"], ["a", "b", "c", "d"], 2) == 1.0
    assert basket_recall_at_k(["a", "b", "z"], ["a", "q"], 3) == 0.5
    assert basket_recall_at_k(["a"], [], 3) == 0.0


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


def test_exposure_is_shared_by_position():
    shares = exposure_share([["a", "b"], ["a", None]], 2)
    second = 1 / math.log2(3)
    assert shares == pytest.approx(
        {"a": 2 / (2 + 2 * second), "b": second / (2 + 2 * second), None: second / (2 + 2 * second)}
    )
    assert next(iter(shares)) == "a"
    assert exposure_share([["a", "b", "b"]], 1) == {"a": 1.0}
    assert exposure_share([], 10) == {}


def test_query_fold_ignores_case_and_outer_space():
    assert query_fold("  Red LAMP ") == query_fold("red lamp") == zlib.crc32(b"red lamp") % 5
    assert query_fold("red lamp", folds=3) == zlib.crc32(b"red lamp") % 3


def test_near_copy_of_a_judged_query_goes_into_its_fold():
    judged = "leather belt without buckle"
    copy = "belt without buckle leather men"  # 4 of 5 words
    assert query_fold(copy) != query_fold(judged)
    assert assign_folds([judged], [copy])[copy] == query_fold(judged)


def test_overlap_of_exactly_three_fifths_counts_and_less_does_not():
    judged = "a b c d"
    assert assign_folds([judged], ["a b c e"], folds=1000)["a b c e"] == query_fold(judged, folds=1000)  # 3 of 5
    folds = assign_folds(["a b c"], ["a b c d e", "a b"], folds=1000)
    assert folds["a b c d e"] == query_fold("a b c", folds=1000)  # 3 of 5
    assert folds["a b"] == query_fold("a b c", folds=1000)  # 2 of 3
    assert assign_folds(["a b c"], ["a b x"], folds=1000)["a b x"] == query_fold("a b x", folds=1000)  # 2 of 4


def test_query_without_a_judged_neighbor_has_its_own_fold():
    folds = assign_folds(["red lamp"], ["green sofa", "red lamp"])
    assert folds == {"red lamp": query_fold("red lamp"), "green sofa": query_fold("green sofa")}


def test_nearest_judged_query_wins():
    folds = assign_folds(["a b c d", "a b c d e"], ["a b c d e f"], folds=1000)
    assert folds["a b c d e f"] == query_fold("a b c d e", folds=1000)
