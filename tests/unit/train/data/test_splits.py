"""Holdout and folds by one rule, with near copies."""

import zlib

import pytest

from tests.support.shops import make_shop
from train.data.splits import MIN_JUDGED, NearCopies, assign_folds, query_fold, split_holdout
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


def test_near_copies_of_a_held_out_query_do_not_train_judged_or_not():
    held = next(iter(split_holdout(shop_of([f"oak table number {at}" for at in range(9)]), 0.3)[1]))
    judged_copy, asked_copy, other = f"{held} now", f"{held} please", "green wool rug"
    shop = make_shop(
        PRODUCTS,
        judgements=[row for query in (held, judged_copy, other) for row in judged(query)],
        queries=[asked_copy, other],
    )
    rest, found = split_holdout(shop, 0.3)
    assert held in found
    trained = {row.query for row in rest.judgements} | set(rest.queries)
    assert not any(NearCopies(found).has(query) for query in trained)
    assert not {judged_copy, asked_copy} & trained


def test_near_copy_says_what_it_is_a_copy_of():
    copies = NearCopies(["red oak lamp", "green sofa"])
    assert copies.nearest("Lamp red oak small") == "red oak lamp"
    assert copies.nearest("green lamp") is None
    assert copies.has("sofa green")
    assert not NearCopies([]).has("sofa")


def test_query_fold_ignores_case_and_outer_space():
    assert query_fold("  Red LAMP ") == query_fold("red lamp") == zlib.crc32(b"red lamp") % 5
    assert query_fold("red lamp", folds=3) == zlib.crc32(b"red lamp") % 3


def test_near_copy_of_a_judged_query_goes_into_its_fold():
    judged = "leather belt without buckle"
    copy = "belt without buckle leather men"  # 4 of 5 words
    assert query_fold(copy) != query_fold(judged)
    assert assign_folds([judged], [copy])[copy] == query_fold(judged)


def test_overlap_of_exactly_three_fifths_counts_and_less_does_not():
    judged = "a b c d"
    assert assign_folds([judged], ["a b c e"], folds=1000)["a b c e"] == query_fold(judged, folds=1000)  # 3 of 5
    folds = assign_folds(["a b c"], ["a b c d e", "a b"], folds=1000)
    assert folds["a b c d e"] == query_fold("a b c", folds=1000)  # 3 of 5
    assert folds["a b"] == query_fold("a b c", folds=1000)  # 2 of 3
    assert assign_folds(["a b c"], ["a b x"], folds=1000)["a b x"] == query_fold("a b x", folds=1000)  # 2 of 4


def test_query_without_a_judged_neighbor_has_its_own_fold():
    folds = assign_folds(["red lamp"], ["green sofa", "red lamp"])
    assert folds == {"red lamp": query_fold("red lamp"), "green sofa": query_fold("green sofa")}


def test_nearest_judged_query_wins():
    folds = assign_folds(["a b c d", "a b c d e"], ["a b c d e f"], folds=1000)
    assert folds["a b c d e f"] == query_fold("a b c d e", folds=1000)
