"""Off-policy estimates against simulated people whose preferences are known."""

from dataclasses import replace

import numpy as np
import pytest

from tests.support.feedback_logs import attractions, rankings, simulated_log, true_value
from train.clicks.click_model import ClickSettings
from train.clicks.off_policy import ESTIMATORS, compare_off_policy

SETTINGS = ClickSettings()


@pytest.fixture(scope="module")
def truth():
    return attractions()


@pytest.fixture(scope="module")
def base(truth):
    return rankings(truth + np.random.default_rng(1).normal(0, 0.3, truth.shape))


@pytest.fixture(scope="module")
def better(truth, base):
    best = rankings(truth)
    return {query: [one for one in best[query] if one in base[query][:10]] for query in base}


def test_intervals_hold_the_true_values_about_as_often_as_they_say(truth, base, better):
    truths = {"baseline": true_value(truth, base), "candidate": true_value(truth, better)}
    truths["gain"] = truths["candidate"] - truths["baseline"]
    hits = []
    for seed in range(20):
        log = simulated_log(truth, base, lists=1_500, seed=seed)
        told = compare_off_policy(log, base, better, settings=SETTINGS, resamples=60, seed=seed)
        for what, true in truths.items():
            hits += [one.low <= true <= one.high for one in getattr(told, what).values()]
    # 180 dependent checks at 95%; a broken estimator misses most of them.
    assert np.mean(hits) > 0.87


def test_a_better_ranking_is_surely_better_with_enough_lists(truth, base, better):
    log = simulated_log(truth, base, lists=12_000)
    told = compare_off_policy(log, base, better, settings=SETTINGS, resamples=60)
    assert all(told.gain[name].low > 0 for name in ESTIMATORS)
    assert told.support == 1.0 and told.lists == 12_000


def test_the_same_ranking_gains_nothing(truth, base):
    log = simulated_log(truth, base, lists=500)
    told = compare_off_policy(log, base, base, settings=SETTINGS, resamples=20)
    assert all(one.value == one.low == one.high == 0.0 for one in told.gain.values())


def test_products_that_were_never_shown_lower_the_support(truth, base):
    log = simulated_log(truth, base, lists=500)
    strangers = {query: [f"new{n}" for n in range(5)] for query in base}
    told = compare_off_policy(log, base, strangers, settings=SETTINGS, resamples=20)
    assert told.support == 0.0
    assert all(one.value == pytest.approx(0.0, abs=1e-9) for one in told.candidate.values())


def test_plain_clicks_of_the_shown_page_would_have_been_wrong(truth, base):
    """The reason for the weights: guests and swaps make the logged page worse than the ranking itself."""
    log = simulated_log(truth, base, lists=20_000)
    told = compare_off_policy(log, base, base, settings=SETTINGS, resamples=20)
    plain = log.wanted.sum() / log.lists
    true = true_value(truth, base)
    assert abs(told.baseline["ips"].value - true) < abs(plain - true)


def test_forged_page_propensities_are_clipped(truth, base, better):
    log = simulated_log(truth, base, lists=2_000)
    forged = log.page_propensity.copy()
    forged[:5] = 1e-15
    told = compare_off_policy(replace(log, page_propensity=forged), base, better, settings=SETTINGS, resamples=20)
    assert told.candidate["ips"].value < 10
