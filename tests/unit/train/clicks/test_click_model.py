"""Clicks become judgements with the place taken out; a forged propensity weighs no more than the limit."""

from dataclasses import replace

import numpy as np
import pytest

from edge_runtime.feedback.exploration import LoggingPolicy
from tests.support.feedback_logs import LOOK, POLICY, attractions, rankings, simulated_log
from train.clicks.click_model import (
    ClickSettings,
    PositionBias,
    estimate_attractions,
    estimate_position_bias,
)


@pytest.fixture(scope="module")
def truth():
    return attractions()


@pytest.fixture(scope="module")
def log(truth):
    scores = truth + np.random.default_rng(1).normal(0, 0.3, truth.shape)
    return simulated_log(truth, rankings(scores), lists=12_000)


def test_swapped_neighbors_tell_how_much_each_place_is_looked_at(log):
    bias = estimate_position_bias(log, ClickSettings())
    assert bias.is_estimated and bias.examination == pytest.approx(LOOK, abs=0.12)


def test_without_swaps_the_position_bias_is_assumed_and_said_so(truth):
    log = simulated_log(truth, rankings(truth), lists=200, policy=LoggingPolicy())
    bias = estimate_position_bias(log, ClickSettings())
    assert not bias.is_estimated and bias.examination == pytest.approx(1 / np.arange(1, 6))


def test_attractions_are_near_the_truth_where_plain_click_rates_are_not(truth, log):
    told = estimate_attractions(log, PositionBias(LOOK, True), ClickSettings(prior_impressions=0.0))
    often = told.impressions > 300
    true = truth[told.query[often], told.product[often]]
    plain = estimate_attractions(log, PositionBias(np.ones(5), True), ClickSettings(prior_impressions=0.0))
    assert np.abs(told.attraction[often] - true).mean() < 0.04
    assert np.abs(plain.attraction[often] - true).mean() > 0.1


def test_a_product_seen_once_is_drawn_to_its_querys_mean(truth, log):
    few = log.part(log.list_of < 3)
    bias = PositionBias(LOOK, True)
    shrunken, plain = (
        estimate_attractions(few, bias, ClickSettings(prior_impressions=prior)).attraction for prior in (50.0, 0.0)
    )
    assert set(plain) >= {0.0, 1.0}
    assert shrunken.max() < plain.max() and shrunken.min() > plain.min()


def test_a_forged_propensity_weighs_no_more_than_the_limit(log):
    forged = log.propensity.copy()
    forged[:20] = 1e-12
    settings = ClickSettings()
    before = estimate_position_bias(log, settings).examination
    after = estimate_position_bias(replace(log, propensity=forged), settings).examination
    assert after == pytest.approx(before, abs=0.1)
    assert POLICY.swap > 0
