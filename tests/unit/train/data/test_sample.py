"""The sample shop: the same for the same seed, clean, and with something to learn in it."""

import random
from collections import Counter, defaultdict

import numpy as np
import pytest

from edge_runtime.contract.errors import ConfigError
from train.data.reading import read_shop
from train.data.sample.queries import misspell
from train.data.sample.shop import sample_tables, write_sample_shop
from train.data.sample.words import load_words
from train.errors import ShopError


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample") / "shop"
    write_sample_shop(folder, products=800)
    return read_shop(folder)


def test_same_seed_gives_the_same_tables():
    first, again, other = (sample_tables(products=60, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert first["products"] != other["products"]


def test_sample_needs_no_cleaning(shop):
    assert shop.dropped == ()
    assert len({product.title for product in shop.products}) == len(shop.products) == 800


def test_sample_has_all_that_the_tool_learns_from(shop):
    judged = Counter(judgement.query for judgement in shop.judgements)
    assert len(judged) == 600
    assert 18 <= min(judged.values()) <= max(judged.values()) <= 24
    assert {round(judgement.gain * 7) for judgement in shop.judgements} == {0, 1, 3, 7}
    assert len(shop.queries) == 3_000
    assert not set(shop.queries) & set(judged)
    assert len(shop.baskets) == 800
    assert all(product.price > 0 and product.brand and product.group for product in shop.products)
    assert len({product.group for product in shop.products}) > 10


def test_every_judged_query_has_a_best_product_and_a_wrong_one(shop):
    gains = defaultdict(set)
    for judgement in shop.judgements:
        gains[judgement.query].add(judgement.gain)
    assert all({0.0, 1.0} <= of_query for of_query in gains.values())


def test_queries_hold_synonyms_and_typos(shop):
    words = {word for product in shop.products for word in product.text.lower().replace(",", "").split()}
    queries = {judgement.query for judgement in shop.judgements}
    strange = [query for query in queries if not set(query.split()) <= words]
    assert 0.2 < len(strange) / len(queries) < 0.8
    alternatives = {text for texts in shop.synonyms.values() for text in texts}
    assert sum(any(text in query for text in alternatives) for query in queries) > 100


def test_word_overlap_alone_does_not_solve_the_queries(shop):
    """The mean gain of the product with most of the query's words is good, and far from perfect."""
    by_query = defaultdict(list)
    for judgement in shop.judgements:
        by_query[judgement.query].append(judgement)

    def overlap(judgement):
        return len(set(judgement.query.split()) & set(shop.products[judgement.row].text.lower().split()))

    def top_gain(judgements):
        most = max(map(overlap, judgements))
        return np.mean([judgement.gain for judgement in judgements if overlap(judgement) == most])

    best = np.mean([top_gain(judgements) for judgements in by_query.values()])
    chance = np.mean([judgement.gain for judgement in shop.judgements])
    assert chance + 0.2 < best < 0.95


def test_people_buy_again_what_is_used_up(shop):
    again, bought = 0, 0
    for baskets in shop.baskets.values():
        seen: set[int] = set()
        for basket in baskets:
            rows = set(basket.rows.tolist())
            again += len(rows & seen)
            bought += len(rows)
            seen |= rows
    assert 0.1 < again / bought < 0.6


def test_people_stay_with_their_brands(shop):
    """Two products of one department in one person's baskets share the brand more often than by chance."""
    random_source = random.Random(0)
    everyone = [row for baskets in shop.baskets.values() for basket in baskets for row in basket.rows.tolist()]

    def same_brand_share(pairs):
        products = [(shop.products[a], shop.products[b]) for a, b in pairs]
        close = [(a, b) for a, b in products if a is not b and a.category.split(" > ")[0] == b.category.split(" > ")[0]]
        return np.mean([a.brand == b.brand for a, b in close])

    own = []
    for baskets in shop.baskets.values():
        rows = list({row for basket in baskets for row in basket.rows.tolist()})
        own += [tuple(random_source.sample(rows, 2)) for _ in range(5) if len(rows) > 1]
    chance = [tuple(random_source.choices(everyone, k=2)) for _ in range(20_000)]
    assert same_brand_share(own) > 1.3 * same_brand_share(chance)


@pytest.mark.parametrize("products", [20, 103, 130])
def test_small_samples_are_whole_shops(tmp_path, products):
    write_sample_shop(tmp_path / "s", products=products, seed=1)
    shop = read_shop(tmp_path / "s")
    assert len(shop.products) == products
    assert shop.judgements
    assert shop.baskets
    assert shop.queries


@pytest.mark.parametrize("products", [-1, 0, 19, 1_000_001])
def test_number_out_of_range_is_refused(tmp_path, products):
    with pytest.raises(ConfigError, match=r"20 to 1,?000,?000 products"):
        write_sample_shop(tmp_path / "s", products=products)
    assert not (tmp_path / "s").exists()


def test_existing_shop_is_not_overwritten_unasked(tmp_path):
    write_sample_shop(tmp_path, products=20)
    before = read_shop(tmp_path).digest
    with pytest.raises(ShopError, match=r"already holds products\.parquet"):
        write_sample_shop(tmp_path, products=30)
    assert read_shop(tmp_path).digest == before
    write_sample_shop(tmp_path, products=30, overwrite=True)
    assert len(read_shop(tmp_path).products) == 30


def test_misspelling_changes_one_longer_word_only():
    source = random.Random(5)
    for _ in range(200):
        words = misspell("red velvet sofa 10000mah", source).split()
        assert (words[0], words[2], words[3]) == ("red", "sofa", "10000mah")
    assert misspell("a red mat", source) == "a red mat"


def test_words_name_only_kinds_that_exist():
    words = load_words()
    nouns = {kind.noun for kind in words.kinds}
    assert len(nouns) == len(words.kinds) > 90
    assert {noun for kind in words.kinds for noun in kind.goes_with} <= nouns
    assert all(kind.price[0] < kind.price[1] and kind.brands for kind in words.kinds)
