"""Recommending from histories, similar products, explanations."""

import logging
from collections.abc import Iterator

import numpy as np
import pytest

from edge_runtime import Recommender
from edge_runtime.contract.errors import ConfigError
from tests.support.toy_bundle import make_toy_bundle
from tests.support.toy_shop import toy_item_vectors, toy_products

VECTORS = toy_item_vectors(toy_products())


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recommender]:
    with Recommender(make_toy_bundle(tmp_path_factory.mktemp("bundle"))) as recommender:
        yield recommender


def test_history_agrees_with_brute_force(shop: Recommender) -> None:
    mean = VECTORS[[1, 7]].sum(axis=0)
    expected = np.argsort(-(VECTORS @ mean))[:5]
    assert shop.recommend(["p1", "p7"], k=5).product_ids == tuple(f"p{row}" for row in expected)


def test_only_the_newest_items_are_read(shop: Recommender) -> None:
    old = ["p20", "p21", "p22"]
    newest = ["p1", "p2", "p3", "p4"]
    np.testing.assert_array_equal(shop.encode_history(old + newest), shop.encode_history(newest))


def test_unknown_products_are_left_out_and_named(shop: Recommender, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        answer = shop.recommend(["gone", "p1", "gone"], k=4)
    assert answer.unknown_history == ("gone",)
    assert answer.product_ids == shop.recommend(["p1"], k=4).product_ids
    assert not answer.cold_start
    assert "gone" in caplog.text


@pytest.mark.parametrize("history", [[], ["gone", "lost"]])
def test_empty_or_unknown_history_gives_the_most_popular(shop: Recommender, history: list[str]) -> None:
    answer = shop.recommend(history, k=3, exclude=["p1"], where={"price": {"lt": 100}})
    assert answer.cold_start
    assert answer.product_ids == ("p0", "p2", "p3")
    assert answer.scores.tolist() == [30.0, 28.0, 27.0]
    assert answer.unknown_history == tuple(history)
    assert not shop.encode_history(history).any()


def test_history_may_be_excluded(shop: Recommender) -> None:
    history = ["p1", "p2"]
    assert history[1] in shop.recommend(history, k=30).product_ids
    answer = shop.recommend(history, k=100, exclude=history)
    assert not set(history) & set(answer.product_ids)
    assert len(answer.product_ids) == 28


def test_text_in_place_of_a_history_is_refused(shop: Recommender) -> None:
    with pytest.raises(ConfigError, match="history takes a list"):
        shop.recommend("p1")
    with pytest.raises(ConfigError, match="history takes a list"):
        shop.encode_history([1])  # type: ignore[list-item]


def test_similar_products_leave_out_the_product_itself(shop: Recommender) -> None:
    expected = [row for row in np.argsort(-(VECTORS @ VECTORS[4])) if row != 4]
    assert shop.similar("p4", k=6).product_ids == tuple(f"p{row}" for row in expected[:6])
    assert len(shop.similar("p4", k=100).product_ids) == 29
    with pytest.raises(ConfigError, match="no product 'p99'"):
        shop.similar("p99")


def test_word_that_the_product_has_contributes_most(shop: Recommender) -> None:
    explanation = shop.explain("acme red candel", "p25")
    words = {word.word: word for word in explanation.words}
    assert words["candel"].read_as == ("candle",)
    assert words["candel"].matched_fields == ("title", "description")
    assert words["red"].matched_fields == ("title", "attributes", "description")
    assert words["acme"].matched_fields == ()
    assert words["red"].contribution > words["acme"].contribution
    assert explanation.score == pytest.approx(explanation.dense_part + explanation.lexical_part)
    assert explanation.score == pytest.approx(float(shop.score("acme red candel", ["p25"])[0]))


def test_one_word_explains_its_whole_lexical_part(shop: Recommender) -> None:
    explanation = shop.explain("candle", "p27")
    assert explanation.words[0].contribution >= explanation.lexical_part
    assert explanation.lexical_part > 0


def test_history_item_of_the_same_kind_contributes_most(shop: Recommender) -> None:
    explanation = shop.explain_history(["p17", "gone", "p2"], "p3")
    assert [item.product_id for item in explanation.items] == ["p17", "p2"]
    assert explanation.items[1].contribution > explanation.items[0].contribution
    alone = shop.explain_history(["p2"], "p3")
    assert alone.items[0].contribution == pytest.approx(alone.score)


def test_history_without_known_products_cannot_be_explained(shop: Recommender) -> None:
    with pytest.raises(ConfigError, match="nothing to explain"):
        shop.explain_history(["gone"], "p3")


def test_product_row_is_complete(shop: Recommender) -> None:
    row, product = shop.product("p28"), toy_products()[28]
    assert (row.title, row.brand, row.category, row.price, row.group) == (
        product.title,
        product.brand,
        product.category,
        product.price,
        product.group,
    )
    assert row.attributes == product.attributes
    assert shop.product("p29").price is None
