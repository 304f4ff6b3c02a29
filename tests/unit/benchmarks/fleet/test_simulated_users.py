"""The people of the learning loop: their truth is what they do."""

import numpy as np
import pytest

from benchmarks.fleet.simulated_users import UNJUDGED, People, log_of, people_of, seen_lists
from edge_runtime.feedback.exploration import LoggingPolicy
from tests.support.feedback_logs import exported_events
from train.data.tables import Judgement, Product, Shop


@pytest.fixture
def shop():
    products = tuple(Product(f"p{n}", f"lamp {n}", brand=f"brand {n % 5}") for n in range(10))
    judgements = tuple(Judgement("lamp", n, n / 9) for n in range(10))
    return Shop("s", products, judgements, {}, (), {}, None, (), "digest")


def test_attraction_follows_gain_and_brand(shop):
    people = people_of(shop, ["lamp"], places=3)
    worth = people.attraction["lamp"]
    assert worth["p9"] > worth["p4"] > 0 and min(worth.values()) >= UNJUDGED * 0.35
    best = sorted(worth, key=lambda one: -worth[one])
    assert people.value({"lamp": best}) > people.value({"lamp": best[::-1]})


def test_clicks_come_as_often_as_the_truth_says():
    people = People(("q",), np.ones(1), {"q": {"a": 0.5, "b": 0.2}}, np.array([1.0, 0.5]))
    ranked = {"q": ["a", "b"]}
    options = {"bundle_id": "b", "policy": LoggingPolicy(swap=0.5), "devices": 3, "lists": 4_000, "seed": 1}
    seen = list(seen_lists(people, ranked, **options))
    log = log_of(seen, people, devices=3)
    top = log.position == 1
    assert log.wanted[top & (log.product == 0)].mean() == pytest.approx(0.5, abs=0.04)
    assert log.wanted[~top & (log.product == 1)].mean() == pytest.approx(0.1, abs=0.04)
    events = seen[0].events(7.0)
    assert [event.kind for event in events[:2]] == ["impression", "impression"]
    assert exported_events(["a"])[0]["kind"] == "impression"
