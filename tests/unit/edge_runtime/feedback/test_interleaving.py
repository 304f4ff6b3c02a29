"""Team-draft interleaving: fair to both rankings, every product once, and sensitive to the better one."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract.errors import ConfigError
from edge_runtime.feedback.interleaving import team_draft

rankings = st.lists(st.sampled_from([f"p{n}" for n in range(12)]), unique=True, max_size=12)


@given(rankings, rankings, st.integers(1, 15), st.integers(0, 10_000))
def test_list_holds_each_product_once_and_the_best_of_both(a, b, k, seed):
    made = team_draft(a, b, k=k, chance=random.Random(seed))
    assert len(set(made.product_ids)) == len(made.product_ids) == min(k, len(set(a) | set(b)))
    for team, ranking in (("a", a), ("b", b)):
        picks = [product for product in made.product_ids if made.team_of(product) == team]
        assert picks == [product for product in ranking if product in picks], "a team picks in its own order"


@given(rankings.filter(bool), st.integers(0, 10_000))
def test_equal_rankings_are_shown_as_they_are(a, seed):
    assert team_draft(a, a, k=len(a), chance=random.Random(seed)).product_ids == tuple(a)


def test_each_team_has_each_place_equally_often():
    chance = random.Random(0)
    places = Counter()
    for _ in range(4_000):
        made = team_draft([f"a{n}" for n in range(6)], [f"b{n}" for n in range(6)], k=6, chance=chance)
        places.update((place, team) for place, team in enumerate(made.teams))
    for place in range(6):
        assert places[place, "a"] / 4_000 == pytest.approx(0.5, abs=0.03)


def test_better_ranking_gets_more_clicks_and_equal_ones_do_not():
    chance = random.Random(1)
    wins = {}
    for name, other in (("better", ["x", "y", "good", "z"]), ("equal", ["good", "u", "v", "w"])):
        clicks = Counter(
            team_draft(["good", "u", "v", "w"], other, k=3, chance=chance).team_of("good") for _ in range(3_000)
        )
        wins[name] = clicks["a"] / (clicks["a"] + clicks["b"])
    assert wins["better"] > 0.95 and wins["equal"] == pytest.approx(0.5, abs=0.03)


def test_product_that_is_not_shown_belongs_to_nobody():
    made = team_draft(["p1"], ["p2"], k=1, chance=random.Random(0))
    assert made.team_of("p9") is None
    with pytest.raises(ConfigError):
        team_draft(["p1"], ["p2"], k=0, chance=random.Random(0))
