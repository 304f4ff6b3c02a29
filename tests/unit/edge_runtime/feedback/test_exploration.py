"""The logged randomization: its probabilities are the ones it has."""

import random
from collections import Counter

import pytest

from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.events import check_event
from edge_runtime.feedback.exploration import LoggingPolicy, ShownList, page_propensity, propensity, show_page

RANKED = [f"p{rank}" for rank in range(1, 16)]


def test_default_policy_shows_the_ranking_with_certainty():
    page = show_page(RANKED, 5, LoggingPolicy(), random.Random(1))
    assert [(shown.product_id, shown.position, shown.rank) for shown in page] == [
        (f"p{place}", place, place) for place in range(1, 6)
    ]
    assert {(shown.propensity, shown.page_propensity) for shown in page} == {(1.0, 1.0)}


@pytest.mark.parametrize(("k", "swap", "guest", "products"), [(5, 0.4, 0.5, 9), (6, 1.0, 0.0, 6), (4, 0.0, 1.0, 20)])
def test_logged_propensity_is_how_often_the_product_stands_there(k, swap, guest, products):
    policy = LoggingPolicy(swap=swap, guest=guest, reserve=4)
    ranked = [f"p{rank}" for rank in range(1, products + 1)]
    chance = random.Random(7)
    seen = Counter()
    tries = 40_000
    for _ in range(tries):
        for shown in show_page(ranked, k, policy, chance):
            seen[(shown.rank, shown.position)] += 1
            assert shown.propensity > 0
    reserve = min(products - k, 4)
    for rank in range(1, products + 1):
        for position in range(1, k + 1):
            expected = propensity(rank, position, places=k, reserve=reserve, policy=policy)
            assert seen[(rank, position)] / tries == pytest.approx(expected, abs=0.012)
        row = sum(propensity(rank, place, places=k, reserve=reserve, policy=policy) for place in range(1, k + 1))
        assert row == pytest.approx(page_propensity(rank, places=k, reserve=reserve, policy=policy))


def test_short_rankings_are_shown_whole():
    policy = LoggingPolicy(swap=0.5, guest=0.9)
    assert show_page([], 5, policy, random.Random(1)) == ()
    assert [shown.product_id for shown in show_page(["p1"], 5, policy, random.Random(1))] == ["p1"]
    assert {shown.product_id for shown in show_page(["p1", "p2"], 5, policy, random.Random(1))} == {"p1", "p2"}


def test_what_is_no_probability_is_refused():
    for fields in ({"swap": 1.5}, {"guest": -0.1}, {"reserve": -1}):
        with pytest.raises(ConfigError, match=next(iter(fields))):
            LoggingPolicy(**fields)


def test_click_carries_place_and_propensity_of_its_impression():
    page = show_page(RANKED, 5, LoggingPolicy(swap=0.5, guest=0.5), random.Random(3))
    shown_list = ShownList("list", "bundle", "red lamp", page, experiment="e", variant="new")
    impressions = shown_list.impressions(5.0)
    for event in impressions:
        check_event(event)
    click = shown_list.action("click", page[2].product_id, 6.0)
    assert click.kind == "click" and click.timestamp_s == 6.0
    same = [(one.position, one.rank, one.propensity, one.list_id, one.variant) for one in (impressions[2], click)]
    assert same[0] == same[1]
    with pytest.raises(ConfigError, match="was not on this page"):
        shown_list.action("click", "other", 6.0)
