"""Pages, orders, facets and suggestions."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_runtime import FacetValue, Recommender, Suggestion
from edge_runtime.contract.errors import ConfigError
from tests.support.toy_bundle import make_toy_bundle
from tests.support.toy_shop import toy_products

PRODUCTS = {product.product_id: product for product in toy_products()}
FIELDS = ("brand", "category", "group", "attributes.color", "attributes.material")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recommender]:
    with Recommender.open(make_toy_bundle(tmp_path_factory.mktemp("bundle")).folder) as recommender:
        yield recommender


def value_of(product, field: str) -> str | None:
    return product.attributes[field.removeprefix("attributes.")] if "." in field else getattr(product, field)


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_pages_laid_together_are_one_long_answer(shop: Recommender, mode) -> None:
    whole = shop.search("red lamp", k=25, mode=mode).product_ids
    pages = [shop.search("red lamp", k=4, offset=offset, mode=mode).product_ids for offset in range(0, 25, 4)]
    assert sum(pages, ())[: len(whole)] == whole
    assert shop.search("red lamp", offset=1000).product_ids == ()


def test_price_orders_the_most_relevant_and_unpriced_come_last(shop: Recommender) -> None:
    cheap = shop.search("candle", k=30, mode="lexical", sort="price").product_ids
    assert cheap == ("p25", "p26", "p27", "p28", "p29")
    assert shop.search("candle", k=30, mode="lexical", sort="-price").product_ids == ("p28", "p27", "p26", "p25", "p29")


def test_title_and_popularity_orders(shop: Recommender) -> None:
    titles = [PRODUCTS[one].title for one in shop.search("lamp", k=30, sort="title").product_ids]
    assert titles == sorted(titles, key=str.lower)
    assert shop.search("lamp", k=3, sort="popularity").product_ids == ("p0", "p1", "p2")


def test_sorted_pages_fit_together(shop: Recommender) -> None:
    whole = shop.search("lamp", k=20, sort="price").product_ids
    assert whole == sum((shop.search("lamp", k=5, offset=at, sort="price").product_ids for at in (0, 5, 10, 15)), ())


def test_browsing_needs_no_query(shop: Recommender) -> None:
    assert shop.browse(k=2, offset=1).product_ids == ("p1", "p2")
    assert shop.browse(k=3, sort="-price").product_ids == ("p28", "p27", "p26")
    lamps = shop.browse(k=30, where={"category": "home > light"}, exclude=["p0"])
    assert set(lamps.product_ids) == {f"p{row}" for row in (1, 2, 3, 4, *range(25, 30))}


def test_wrong_order_or_page_is_named(shop: Recommender) -> None:
    with pytest.raises(ConfigError, match="unknown sort 'magic', expected one of relevance"):
        shop.search("lamp", sort="magic")
    with pytest.raises(ConfigError, match="offset must be a whole number of at least 0"):
        shop.browse(offset=-1)
    with pytest.raises(ConfigError, match="cannot count products by 'size'; known fields are brand"):
        shop.facets(by=["size"])


@pytest.mark.parametrize("field", FIELDS)
def test_facets_count_what_the_filter_would_leave(shop: Recommender, field: str) -> None:
    for value in shop.facets(by=[field], limit=50)[field]:
        assert len(shop.browse(k=100, where=value.where).product_ids) == value.products


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(
    brand=st.sampled_from(["acme", "nordic", "casa"]),
    field=st.sampled_from(FIELDS),
    word=st.sampled_from(["red", "lamp"]),
)
def test_facets_of_a_query_are_exact_and_leave_their_own_filter_out(shop, brand: str, field: str, word: str) -> None:
    counted = shop.facets(word, by=[field], where={"brand": brand}, limit=50)[field]
    expected: dict[str, int] = {}
    for product in PRODUCTS.values():
        if word in f"{product.title} {product.description}" and (field == "brand" or product.brand == brand):
            value = value_of(product, field) or ""
            levels = value.split(" > ") if field == "category" else [value]
            for depth in range(1, len(levels) + 1):
                name = " > ".join(levels[:depth])
                expected[name] = expected.get(name, 0) + 1
    assert {one.value: one.products for one in counted} == expected
    assert [one.products for one in counted] == sorted((one.products for one in counted), reverse=True)


def test_price_ranges_cover_every_priced_product_once(shop: Recommender) -> None:
    ranges = shop.facets(by=["price"])["price"]
    assert sum(one.products for one in ranges) == 29
    found = [shop.browse(k=100, where=one.where).product_ids for one in ranges]
    assert [len(one) for one in found] == [one.products for one in ranges]
    assert len(set(sum(found, ()))) == 29


def test_query_without_a_known_word_counts_the_nearest(shop: Recommender) -> None:
    counted = shop.facets("zzzz qqqq", by=["brand"])["brand"]
    assert sum(one.products for one in counted) == 20  # the candidates of the vector index


def test_prefix_is_completed_by_brands_categories_and_words(shop: Recommender) -> None:
    assert Suggestion("acme", "brand") in shop.suggest("ac")
    assert shop.suggest("fur")[0] == Suggestion("furniture", "category")
    assert Suggestion("candle", "word") in shop.suggest("can")
    assert any(one.kind == "product" and "red lamp" in one.text for one in shop.suggest("red lam"))


def test_finished_words_stay_and_must_occur_together(shop: Recommender) -> None:
    texts = [one.text for one in shop.suggest("red l", k=20)]
    assert "red lamp" in texts
    assert "red light" in texts
    assert "red lamp" not in [one.text for one in shop.suggest("kitchen l", k=20)]


def test_typo_in_a_prefix_is_read_as_the_nearest_word(shop: Recommender) -> None:
    assert shop.suggest("furnitrue")[0].text == "furniture"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(prefix=st.one_of(st.text(max_size=20), st.text('"*():^-+ANDORNEAR lamp', max_size=20)), k=st.integers(1, 9))
def test_any_prefix_gives_at_most_k_distinct_texts(shop: Recommender, prefix: str, k: int) -> None:
    found = [one.text.casefold() for one in shop.suggest(prefix, k=k)]
    assert len(found) == len(set(found)) <= k


def test_batches_are_what_single_calls_give(shop: Recommender) -> None:
    queries = ["red lamp", "blue mug"]
    assert [one.product_ids for one in shop.search_batch(queries, k=3)] == [
        shop.search(one, k=3).product_ids for one in queries
    ]
    assert (shop.encode_batch(queries) == [shop.encode_query(one) for one in queries]).all()
    assert shop.encode_batch([]).shape == (0, 16)


def test_facet_value_can_be_made_without_a_filter() -> None:
    assert FacetValue("any price", 3).where == {}
