import pytest

from tests.support.shops import make_shop
from train.data.splits import MIN_JUDGED, split_holdout
from train.data.tables import Judgement, Product

PRODUCTS = [Product(f"p{row}", f"thing {row}") for row in range(6)]


def judged(query, gains=(1.0, 0.5, 0.0)):
    return [Judgement(query, row, gain) for row, gain in enumerate(gains)]


def shop_of(queries, *, gains=(1.0, 0.5, 0.0), unlabelled=()):
    judgements = [judgement for query in queries for judgement in judged(query, gains)]
    return make_shop(PRODUCTS, judgements=judgements, queries=[*queries, *unlabelled])


QUERIES = [f"query {number}" for number in range(200)]


def test_about_the_wanted_share_is_held_out():
    assert 35 <= len(split_holdout(shop_of(QUERIES), 0.25)[1]) <= 65


def test_the_same_query_is_on_the_same_side_in_every_shop():
    held = set(split_holdout(shop_of(QUERIES), 0.3)[1])
    assert set(split_holdout(shop_of(QUERIES[:50]), 0.3)[1]) == held & set(QUERIES[:50])


def test_a_larger_share_holds_out_the_same_queries_and_more():
    assert set(split_holdout(shop_of(QUERIES), 0.1)[1]) < set(split_holdout(shop_of(QUERIES), 0.4)[1])


def test_held_out_queries_vanish_from_judgements_and_unlabelled_queries():
    rest, held = split_holdout(shop_of(QUERIES, unlabelled=["only here"]), 0.3)
    assert not {judgement.query for judgement in rest.judgements} & set(held)
    assert not set(rest.queries) & set(held)
    assert "only here" in rest.queries
    assert len(rest.judgements) + sum(map(len, held.values())) == 3 * len(QUERIES)
    assert rest.products == tuple(PRODUCTS)


def test_other_spellings_of_a_held_out_query_vanish_too():
    held = next(iter(split_holdout(shop_of(QUERIES), 0.3)[1]))
    spelled = f" {held.upper()}"
    shop = make_shop(
        PRODUCTS, judgements=[*judged(held), Judgement(spelled, 0, 1.0)], queries=[spelled, "something else"]
    )
    rest, found = split_holdout(shop, 0.3)
    assert list(found) == [held]
    assert rest.judgements == ()
    assert rest.queries == ("something else",)


def test_share_zero_holds_nothing_out():
    shop = shop_of(QUERIES)
    assert split_holdout(shop, 0.0) == (shop, {})


@pytest.mark.parametrize("gains", [(1.0, 0.0)[: MIN_JUDGED - 1], (0.5, 0.5, 0.5), (0.0, 0.0, 0.0)])
def test_queries_that_say_nothing_about_ranking_stay_in_training(gains):
    shop = shop_of(QUERIES, gains=gains)
    rest, held = split_holdout(shop, 0.9)
    assert held == {}
    assert rest.judgements == shop.judgements
