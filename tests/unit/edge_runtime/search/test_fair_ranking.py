import json
import math

import numpy as np
import pytest

from edge_runtime.contract.errors import ConfigError
from edge_runtime.recommender import Recommender
from edge_runtime.search.fair_ranking import ExposureBound, bound_exposure, place_attention, search_fairly
from pocketrec import verbs
from tests.support.toy_bundle import make_toy_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_toy_bundle(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def recommender(bundle):
    with Recommender(bundle) as opened:
        yield opened


def scores(*values):
    return np.array(values, dtype=np.float32)


def exposure(groups, order):
    found = {}
    for at, attention in zip(order, place_attention(len(order)), strict=True):
        found[groups[at]] = found.get(groups[at], 0.0) + attention
    return found


def test_without_a_bound_the_order_is_that_of_the_scores():
    groups = ["a", "a", "a", "b"]
    assert bound_exposure(scores(0.9, 0.8, 0.7, 0.6), groups, 4, ExposureBound(math.inf)) == [0, 1, 2, 3]


def test_a_group_that_has_used_up_its_exposure_waits_for_the_others():
    groups = ["a", "a", "a", "b", "b", "b"]
    even = ExposureBound(1.0, {"a": 0.5, "b": 0.5})
    assert bound_exposure(scores(0.9, 0.8, 0.7, 0.6, 0.5, 0.4), groups, 4, even)[:3] == [0, 1, 3]


@pytest.mark.parametrize("seed", range(30))
def test_no_group_passes_its_bound_by_more_than_the_place_that_brought_it_there(seed):
    random = np.random.default_rng(seed)
    count, k = 60, 10
    values = np.sort(random.random(count).astype(np.float32))[::-1]
    groups = [f"g{n}" for n in random.integers(0, 4, count)]
    shares = {f"g{n}": 0.25 for n in range(4)}
    ratio = float(random.uniform(1.0, 2.0))
    order = bound_exposure(values, groups, k, ExposureBound(ratio, shares))
    assert len(set(order)) == k
    total = place_attention(k).sum()
    for group in shares:
        places = [place for place, at in enumerate(order) if groups[at] == group]
        before_last = sum(place_attention(k)[places[:-1]])
        assert before_last < ratio * 0.25 * total


@pytest.mark.parametrize("seed", range(5))
def test_within_a_group_the_better_product_stays_first(seed):
    random = np.random.default_rng(seed)
    values = np.sort(random.random(40).astype(np.float32))[::-1]
    groups = [f"g{n}" for n in random.integers(0, 3, 40)]
    order = bound_exposure(values, groups, 12, ExposureBound(1.0))
    for group in set(groups):
        own = [at for at in order if groups[at] == group]
        assert own == sorted(own)


def test_a_tighter_bound_takes_exposure_from_the_group_that_had_most():
    groups = ["a"] * 6 + ["b"] * 6
    values = scores(*np.linspace(1.0, 0.5, 12))
    shares = [
        exposure(groups, bound_exposure(values, groups, 6, ExposureBound(ratio)))["a"] for ratio in (2.0, 1.1, 1.0)
    ]
    assert shares[0] > shares[1] >= shares[2]


def test_products_without_a_group_are_never_held_back():
    assert bound_exposure(scores(3, 2, 1), [None, None, "a"], 3, ExposureBound(1.0, {"a": 0.0})) == [0, 1, 2]


def test_an_answer_is_never_shorter_for_being_fair():
    assert bound_exposure(scores(3, 2, 1), ["a", "a", "a"], 3, ExposureBound(1.0, {})) == [0, 1, 2]
    assert bound_exposure(scores(), [], 3, ExposureBound(1.0)) == []


def test_equal_scores_share_merit_evenly():
    assert bound_exposure(scores(1, 1, 1, 1), ["a", "a", "b", "b"], 2, ExposureBound(1.0)) in ([0, 2], [0, 1])
    order = bound_exposure(scores(1, 1, 1, 1), ["a", "a", "b", "b"], 4, ExposureBound(1.0))
    assert sorted(order) == [0, 1, 2, 3]


@pytest.mark.parametrize("ratio", [0.99, -1.0, math.nan])
def test_a_bound_below_one_is_refused(ratio):
    with pytest.raises(ConfigError, match="expected 1 or more"):
        ExposureBound(ratio)


def test_a_share_of_merit_outside_0_to_1_is_refused():
    with pytest.raises(ConfigError, match=r"merit share of group 'a' is 1\.5"):
        ExposureBound(1.0, {"a": 1.5})


def test_a_fair_search_returns_products_of_the_search_with_their_scores(recommender):
    wide = recommender.search("red lamp", k=30)
    score_of = dict(zip(wide.product_ids, wide.scores.tolist(), strict=True))
    answer = search_fairly(recommender, "red lamp", k=5, bound=ExposureBound(1.0, {"seller-0": 0.5, "seller-1": 0.5}))
    assert len(answer.product_ids) == 5
    assert answer.scores.tolist() == [score_of[one] for one in answer.product_ids]
    assert {recommender.product(one).group for one in answer.product_ids} == {"seller-0", "seller-1"}


def test_a_group_without_merit_comes_last(recommender):
    answer = search_fairly(recommender, "red lamp", k=30, bound=ExposureBound(1.5, {"seller-0": 1.0}))
    groups = [recommender.product(one).group for one in answer.product_ids]
    assert groups == sorted(groups)


def test_the_command_bounds_exposure(bundle, capsys):
    arguments = ["search", str(bundle.folder), "red lamp", "-k", "6", "--json"]
    assert verbs.main([*arguments, "--max-exposure-ratio", "1"]) == 0
    bounded = json.loads(capsys.readouterr().out)["products"]
    assert len({row["product_id"] for row in bounded}) == 6
    assert len({row["group"] for row in bounded}) == 2
    assert verbs.main([*arguments, "--max-exposure-ratio", "0.5"]) == 1
    assert "expected 1 or more" in capsys.readouterr().err
    assert verbs.main([*arguments, "--max-exposure-ratio", "1", "--sort", "price"]) == 1
    assert "leave out --offset and --sort" in capsys.readouterr().err
