"""Metrics against values worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.evaluation.metrics import (
    basket_figures,
    basket_recall_at_k,
    chance_basket_figures,
    chance_ndcg,
    ndcg_at_k,
    recall_at_k,
    rerank_ndcg,
    retrieval_ndcg,
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


def test_of_equal_scores_the_earlier_product_leads():
    gains = np.array([0.0, 1.0, 0.5])
    assert rerank_ndcg(gains, np.array([1.0, 1.0, 0.0]), 10) == ndcg_at_k([0.0, 1.0, 0.5], 10, ideal_gains=gains)


def test_retrieved_product_without_a_gain_counts_nothing():
    assert retrieval_ndcg({"a": 1.0, "b": 0.5}, ["x", "a"], 2) == ndcg_at_k([0.0, 1.0], 2, ideal_gains=[1.0, 0.5])
    assert retrieval_ndcg({"a": 1.0}, ["x", "y", "a"], 2) == 0.0


def test_basket_figures_give_each_product_gain_one():
    recall, ndcg = basket_figures(["x", "a"], ["a", "b"], 10)
    assert (recall, ndcg) == (0.5, pytest.approx((1 / math.log2(3)) / (1 + 1 / math.log2(3))))


@pytest.mark.parametrize("among", [4, 12, 30])
def test_chance_is_what_random_orders_get_on_average(among):
    random, gains = np.random.default_rng(0), dict(enumerate([1.0, 0.5, 0.5, 0.0]))
    orders = [random.permutation(among).tolist() for _ in range(4_000)]
    expected = chance_ndcg(np.array(list(gains.values())), 10, among=among)
    assert np.mean([retrieval_ndcg(gains, order, 10) for order in orders]) == pytest.approx(expected, abs=0.01)
    found = np.mean([basket_figures(order, [0, 1, 2], 10) for order in orders], axis=0)
    assert found == pytest.approx(chance_basket_figures(3, 10, among=among), abs=0.01)
