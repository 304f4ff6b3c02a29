"""The user's taste: kept in one file, forgotten on request, switched on by the caller."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_runtime import PersonalTaste, Recommender
from edge_runtime.contract.errors import ConfigError, StorageError
from edge_runtime.search.user_profile import HALF_LIFE_S, MAX_EVENTS
from tests.support.toy_bundle import make_toy_bundle


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recommender]:
    with Recommender.open(make_toy_bundle(tmp_path_factory.mktemp("bundle")).folder) as recommender:
        yield recommender


def test_events_survive_a_restart(tmp_path: Path) -> None:
    PersonalTaste(tmp_path / "taste.json", clock=lambda: 5.0).add(["p1", "p2"], "click")
    events = PersonalTaste(tmp_path / "taste.json").events
    assert [(one.product_id, one.kind, one.at_s) for one in events] == [("p1", "click", 5.0), ("p2", "click", 5.0)]


def test_what_is_forgotten_is_gone_from_the_file(tmp_path: Path) -> None:
    taste = PersonalTaste(tmp_path / "taste.json")
    taste.add(["p1", "p2", "p1"], "purchase")
    taste.forget(["p1"])
    assert "p1" not in (tmp_path / "taste.json").read_text()
    assert set(taste.weights()) == {"p2"}
    taste.forget()
    taste.forget()
    assert not (tmp_path / "taste.json").exists()
    assert taste.events == ()


def test_old_events_say_less_and_purchases_more(tmp_path: Path) -> None:
    now = [0.0]
    taste = PersonalTaste(tmp_path / "taste.json", clock=lambda: now[0])
    taste.add(["old"], "purchase")
    now[0] = HALF_LIFE_S
    taste.add(["new"], "purchase")
    taste.add(["seen"], "view")
    assert taste.weights() == pytest.approx({"old": 0.5, "new": 1.0, "seen": 0.25})


def test_only_the_newest_events_are_kept(tmp_path: Path) -> None:
    taste = PersonalTaste(tmp_path / "taste.json")
    taste.add([f"p{number}" for number in range(MAX_EVENTS + 7)], "view")
    assert len(taste.events) == len(PersonalTaste(tmp_path / "taste.json").events) == MAX_EVENTS
    assert taste.events[0].product_id == "p7"


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", '{"version": 2, "events": []}', '{"version": 1, "events": [["p", "stole", 1]]}',
     '{"version": 1, "events": [["p", "view", 1e999]]}', '{"version": 1}', "[" * 50_000],
)  # fmt: skip
def test_damaged_file_is_an_empty_taste_and_heals(tmp_path: Path, content: str) -> None:
    (tmp_path / "taste.json").write_text(content)
    taste = PersonalTaste(tmp_path / "taste.json")
    assert taste.events == ()
    taste.add(["p3"], "view")
    assert json.loads((tmp_path / "taste.json").read_text())["events"][0][0] == "p3"


def test_wrong_events_are_refused(tmp_path: Path) -> None:
    taste = PersonalTaste(tmp_path / "taste.json")
    with pytest.raises(ConfigError, match="unknown kind of event 'steal'"):
        taste.add(["p1"], "steal")
    with pytest.raises(ConfigError, match="expected a list of product ids"):
        taste.add("p1", "view")


def test_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="taste"):
        PersonalTaste(tmp_path / "file" / "taste.json").add(["p1"], "view")


def test_taste_moves_what_the_user_likes_up_and_is_off_by_default(shop: Recommender, tmp_path: Path) -> None:
    taste = PersonalTaste(tmp_path / "taste.json")
    plain = shop.search("lamp", k=5)
    taste.add(["p2"], "purchase")
    assert shop.search("lamp", k=5).product_ids == plain.product_ids
    mine = shop.search("lamp", k=5, taste=taste, personal_weight=10.0)
    assert mine.product_ids[0] == "p2"
    taste.forget()
    assert shop.search("lamp", k=5, taste=taste).product_ids == plain.product_ids


def test_vector_is_the_weighted_mean_of_what_the_catalogue_knows(shop: Recommender, tmp_path: Path) -> None:
    taste = PersonalTaste(tmp_path / "taste.json", clock=lambda: 0.0)
    assert not shop.taste_vector(taste).any()
    taste.add(["gone from the shop"], "purchase")
    assert not shop.taste_vector(taste).any()
    taste.add(["p4"], "purchase")
    taste.add(["p9"], "click")
    mean = shop.encode_history(["p4"]) * 0
    for product, weight in (("p4", 1.0), ("p9", 0.5)):
        mean = mean + weight * shop._catalogue.vectors_of(np.array([int(product[1:])], dtype=np.int32))[0]
    np.testing.assert_allclose(shop.taste_vector(taste), mean / np.linalg.norm(mean), atol=1e-5)
