"""Answers under a deadline: which level is reached, what is remembered of costs."""

from collections.abc import Iterator

import pytest

from edge_runtime import Recommender
from edge_runtime.contract.errors import ConfigError
from edge_runtime.search.deadline import ENCODER, HYBRID, LEXICAL, RESCORED, STATIC, Deadline, LevelCosts
from tests.support.toy_bundle import make_toy_bundle


class Clock:
    """Moves only when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recommender]:
    with Recommender.open(make_toy_bundle(tmp_path_factory.mktemp("bundle")).folder) as recommender:
        yield recommender


@pytest.fixture
def shop(opened: Recommender, monkeypatch: pytest.MonkeyPatch) -> Recommender:
    costs = LevelCosts(Clock())
    monkeypatch.setattr(opened, "_searcher", type(opened._searcher)(**{**vars(opened._searcher), "costs": costs}))
    return opened


def cost(shop: Recommender, **milliseconds: float) -> None:
    costs = shop._searcher.costs
    for level, taken in milliseconds.items():
        with costs.measured(level):
            costs.clock.now += taken / 1e3  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("deadline_ms", "mode", "level"),
    [(0.5, "hybrid", STATIC), (1.5, "hybrid", ENCODER), (2.5, "hybrid", RESCORED), (4.5, "hybrid", HYBRID),
     (9.0, "dense", RESCORED), (4.5, "lexical", LEXICAL), (3.5, "lexical", STATIC), (None, "hybrid", HYBRID)],
)  # fmt: skip
def test_highest_level_that_fits_answers(shop: Recommender, deadline_ms, mode, level: str) -> None:
    cost(shop, encoder=1, rescored=2, hybrid=4, lexical=4)
    answer = shop.search("red lamp", k=3, deadline_ms=deadline_ms, mode=mode)
    assert answer.level == level
    assert len(answer.product_ids) == 3
    assert not answer.cold_start


def test_without_any_time_the_most_popular_eligible_products_answer(shop: Recommender) -> None:
    cost(shop, encoder=1)
    answer = shop.search("red lamp", k=2, deadline_ms=0, where={"brand": "nordic"})
    assert (answer.level, answer.product_ids) == (STATIC, ("p1", "p4"))


def test_deadline_that_suffices_changes_nothing(shop: Recommender) -> None:
    assert shop.search("blue mug", deadline_ms=1000).product_ids == shop.search("blue mug").product_ids


def test_level_that_was_slow_once_is_tried_again(shop: Recommender) -> None:
    cost(shop, encoder=40)
    levels = [shop.search("red lamp", deadline_ms=5).level for _ in range(30)]
    assert levels[0] == STATIC
    assert levels[-1] == HYBRID


def test_filter_that_leaves_none_of_the_candidates_is_answered_exactly_or_by_popularity(shop: Recommender) -> None:
    cost(shop, rescored=9)
    far = shop.search("lamp", k=1, mode="dense").product_ids[0]
    where = {"product_id": [one for one in (f"p{row}" for row in range(30)) if one != far][-1]}
    quick = shop.search("lamp", k=1, deadline_ms=1, where=where)
    assert quick.product_ids == (where["product_id"],)
    assert quick.level in (STATIC, ENCODER)


@pytest.mark.parametrize("deadline", [-1, float("nan"), "soon", True])
def test_deadline_that_is_no_time_is_refused(shop: Recommender, deadline: object) -> None:
    with pytest.raises(ConfigError, match="deadline_ms must be a number"):
        shop.search("lamp", deadline_ms=deadline)  # type: ignore[arg-type]


def test_no_deadline_leaves_all_time() -> None:
    assert Deadline(None, Clock()).leaves(1e9)
    assert not Deadline(1, Clock()).leaves(0.002)
