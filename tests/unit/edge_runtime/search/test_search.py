"""Search, score and the promises that hold for every query."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_runtime import Recommender
from edge_runtime.contract.bundle import FusionSpec
from edge_runtime.contract.errors import ConfigError
from tests.support.toy_bundle import make_toy_bundle
from tests.support.toy_shop import SPEC, toy_item_vectors, toy_products, toy_text_vector

PRODUCTS = toy_products()
IDS = [product.product_id for product in PRODUCTS]
SLOW_FIXTURE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recommender]:
    bundle = make_toy_bundle(tmp_path_factory.mktemp("bundle"))
    with Recommender.open(bundle.folder) as recommender:
        yield recommender


def test_dense_search_agrees_with_brute_force(shop: Recommender) -> None:
    exact = toy_item_vectors(PRODUCTS) @ toy_text_vector("smart red lamp", SPEC.query_tokens)
    answer = shop.search("smart red lamp", k=7, mode="dense")
    assert answer.product_ids == tuple(IDS[row] for row in np.argsort(-exact)[:7])
    np.testing.assert_allclose(answer.scores, np.sort(exact)[::-1][:7], atol=2e-3)


def test_product_that_is_meant_comes_first(shop: Recommender) -> None:
    assert shop.search("green mug").product_ids[0] == "p17"


def test_lexical_search_gives_only_products_with_a_word(shop: Recommender) -> None:
    answer = shop.search("candle", k=30, mode="lexical")
    assert set(answer.product_ids) == {f"p{row}" for row in range(25, 30)}
    assert (answer.scores > 0).all()


def test_hybrid_score_is_the_formula_of_the_manifest(shop: Recommender) -> None:
    cosines, bm25 = shop.score_parts("blue table", IDS)
    expected = 0.5 * (cosines + 1) / (cosines.max() + 1) + 0.5 * bm25 / bm25.max()
    np.testing.assert_allclose(shop.score("blue table", IDS), expected, rtol=1e-5)


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_score_is_what_search_shows(shop: Recommender, mode: str) -> None:
    answer = shop.search("black chair", k=5, mode=mode, where={"price": {"gte": 6}})  # type: ignore[arg-type]
    np.testing.assert_allclose(
        shop.score("black chair", answer.product_ids, mode=mode),  # type: ignore[arg-type]
        answer.scores,
        rtol=1e-5,
    )


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_fusion_weight_at_its_ends_is_one_side_alone(tmp_path, weight: float) -> None:
    bundle = make_toy_bundle(tmp_path, fusion=FusionSpec(dense_weight=weight, field_weights={}))
    with Recommender(bundle) as recommender:
        side = "dense" if weight == 1 else "lexical"
        hybrid = recommender.search("small white shirt", k=5)
        assert hybrid.product_ids == recommender.search("small white shirt", k=5, mode=side).product_ids


def test_k_beyond_the_catalogue_gives_every_product_once(shop: Recommender) -> None:
    for mode in ("hybrid", "dense"):
        answer = shop.search("lamp", k=1000, mode=mode)  # type: ignore[arg-type]
        assert sorted(answer.product_ids) == sorted(IDS)
        assert (np.diff(answer.scores) <= 0).all()


@SLOW_FIXTURE
@given(exclude=st.sets(st.sampled_from([*IDS, "unknown"])), k=st.integers(1, 200), query=st.text(min_size=1))
def test_excluded_product_never_returns(shop: Recommender, exclude: set[str], k: int, query: str) -> None:
    try:
        answer = shop.search(query, k=k, exclude=exclude)
    except ConfigError as error:
        assert "empty" in str(error)
        return
    assert not exclude & set(answer.product_ids)
    assert len(answer.product_ids) == min(k, len(set(IDS) - exclude))


@SLOW_FIXTURE
@given(query=st.one_of(st.text(st.characters()), st.text('"*():^-+{}[]ANDORNEAR lamp', max_size=30)))
def test_no_query_is_a_syntax_error(shop: Recommender, query: str) -> None:
    try:
        shop.search(query, k=3)
        shop.search(query, k=3, mode="lexical")
        shop.explain(query, "p0")
    except ConfigError as error:
        assert "empty" in str(error)


def test_query_of_ten_thousand_words_works(shop: Recommender) -> None:
    query = " ".join(f"word{number} red lamp" for number in range(10_000))
    assert shop.search(query, k=3, mode="lexical").product_ids[0] == "p0"
    assert len(shop.search(query, k=3).product_ids) == 3


@pytest.mark.parametrize("query", ["", "   ", "\u00a0\n\t", "\u200b"])
def test_empty_query_is_refused_with_advice(shop: Recommender, query: str) -> None:
    with pytest.raises(ConfigError, match="use `recommend`"):
        shop.search(query)


@pytest.mark.parametrize("k", [0, -1, True, 2.5, "3"])
def test_count_below_one_or_not_whole_is_refused(shop: Recommender, k: object) -> None:
    with pytest.raises(ConfigError, match="k must be a whole number"):
        shop.search("lamp", k=k)  # type: ignore[arg-type]


def test_wrong_arguments_are_named(shop: Recommender) -> None:
    with pytest.raises(ConfigError, match="unknown mode 'magic'"):
        shop.search("lamp", mode="magic")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="expected a text, found int"):
        shop.search(7)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="exclude takes a list"):
        shop.search("lamp", exclude="p1")
    with pytest.raises(ConfigError, match="no product 'nope'"):
        shop.score("lamp", ["p1", "nope"])
    with pytest.raises(ConfigError, match="product_ids takes a list"):
        shop.score("lamp", "p1")


def test_query_of_which_nothing_is_known_gives_the_most_popular(shop: Recommender) -> None:
    answer = shop.search("\u0301", k=3)
    assert answer.cold_start
    assert answer.product_ids == ("p0", "p1", "p2")
    assert shop.search("\u0301", k=3, mode="dense").cold_start
    assert shop.search("\u0301", k=3, mode="lexical").product_ids == ()


def test_lone_surrogates_are_no_stumbling_block(shop: Recommender) -> None:
    assert shop.search("red\ud800lamp").product_ids == shop.search("red lamp").product_ids
    assert shop.recommend(["\udfff", "p1"]).unknown_history == ("\udfff",)


def test_filter_keeps_only_what_it_says(shop: Recommender) -> None:
    answer = shop.search("red lamp", k=30, where={"brand": "nordic"})
    assert set(answer.product_ids) == {product.product_id for product in PRODUCTS if product.brand == "nordic"}
    assert shop.search("red lamp", where={"brand": "nobody"}).product_ids == ()


def test_typo_is_read_as_the_nearest_word(shop: Recommender) -> None:
    answer = shop.search("furnitrue", mode="lexical")
    assert answer.corrections == {"furnitrue": ("furniture",)}
    assert {shop.product(one).category for one in answer.product_ids} == {"home > furniture"}


def test_threads_get_the_same_answers(shop: Recommender) -> None:
    queries = ["red lamp", "blue mug", "white chair", "acme table"] * 10
    expected = [shop.search(query).product_ids for query in queries]
    found: dict[int, list[tuple[str, ...]]] = {}

    def ask(number: int) -> None:
        found[number] = [shop.search(query).product_ids for query in queries]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found[number] == expected for number in range(4))


def test_item_text_and_query_meet_in_one_space(shop: Recommender) -> None:
    vector = shop.encode_item(PRODUCTS[3].text)
    np.testing.assert_allclose(vector, toy_item_vectors(PRODUCTS)[3], atol=1e-5)
    with pytest.raises(ConfigError, match="empty"):
        shop.encode_item(" ")
