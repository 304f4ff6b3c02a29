import numpy as np
import pytest

from tests.support.shops import make_shop
from train.data.tables import Basket, Judgement, Product
from train.sampling.contrastive_batches import BatchShape, ContrastiveBatches

SHAPE = BatchShape(lists=2, list_size=4, pairs=3, baskets=2, negatives=2)


def shop_of(judgements=(), baskets=(), products=30):
    rows = [Basket(float(when), np.array(rows, np.int32)) for when, rows in enumerate(baskets)]
    return make_shop(
        [Product(f"p{number}", f"Product {number}") for number in range(products)],
        judgements=[Judgement(*judgement) for judgement in judgements],
        baskets={"u": tuple(rows)} if rows else {},
    )


def test_single_product_without_judgements_has_no_batches():
    supervision = ContrastiveBatches(shop_of(products=1), SHAPE)
    assert supervision.counts == {"lists": 0, "pairs": 0, "baskets": 0, "catalogue": 0}
    assert sum(supervision.batches_per_epoch().values()) == 0


def test_lists_need_differing_gains_and_pairs_need_a_positive():
    supervision = ContrastiveBatches(
        shop_of([("same", 0, 0.1), ("same", 1, 0.1), ("one", 2, 1.0), ("graded", 3, 0.2), ("graded", 4, 0.0)]), SHAPE
    )
    assert supervision.counts == {"lists": 1, "pairs": 1, "baskets": 0, "catalogue": 60}


def test_baskets_need_two_products():
    assert ContrastiveBatches(shop_of(baskets=[[1], [2, 3]]), SHAPE).counts["baskets"] == 1


@pytest.mark.parametrize("kinds", [["lists"], ["pairs"], ["baskets"], ["catalogue"], []])
def test_each_kind_of_evidence_can_be_used_alone(kinds):
    shop = shop_of([("q", 0, 1.0), ("q", 1, 0.0)], baskets=[[2, 3]])
    counts = ContrastiveBatches(shop, SHAPE, kinds=kinds).counts
    assert {kind for kind, count in counts.items() if count} == set(kinds)


def test_list_targets_follow_gains_and_give_no_mass_to_others():
    shop = shop_of([("a", 0, 1.0), ("a", 1, 0.5), ("a", 2, 0.0), ("b", 3, 1.0), ("b", 4, 0.0)])
    batch = ContrastiveBatches(shop, SHAPE, kinds=["lists"]).batch("lists", 0, seed=0)
    assert batch.rows.shape == (2 * 4 + 2,)
    np.testing.assert_allclose(batch.targets.sum(axis=1), 1.0, rtol=1e-6)
    left = int(np.flatnonzero(batch.queries == 0)[0])
    mass = {int(row): target for row, target in zip(batch.rows, batch.targets[left], strict=True) if target > 0}
    assert mass.keys() == {0, 1, 2}
    assert mass[0] / mass[1] == pytest.approx(np.exp(0.5 / 0.25), rel=1e-5)
    assert mass[1] / mass[2] == pytest.approx(np.exp(0.5 / 0.25), rel=1e-5)


def test_products_known_for_a_query_are_hidden_where_they_stand_for_another():
    shop = shop_of([("a", 0, 1.0), ("a", 1, 0.0), ("b", 0, 1.0), ("b", 2, 0.0)], products=3)
    batch = ContrastiveBatches(shop, SHAPE, kinds=["lists"]).batch("lists", 0, seed=0)
    known = {0: {0, 1}, 1: {0, 2}}
    for left, query in enumerate(batch.queries):
        for right, row in enumerate(batch.rows):
            expected = int(row) in known[int(query)] and batch.targets[left, right] == 0
            assert batch.hidden[left, right] == expected
    assert batch.hidden.any()


def test_pairs_show_every_query_once_per_epoch_with_one_of_its_positives():
    judgements = [(f"q{n}", n, 1.0) for n in range(7)] + [("q0", 10, 0.6), ("q0", 11, 0.1)]
    supervision = ContrastiveBatches(shop_of(judgements), SHAPE, kinds=["pairs"])
    assert supervision.batches_per_epoch()["pairs"] == 3
    shown = []
    for number in range(7):
        batch = supervision.batch("pairs", number, seed=1)
        np.testing.assert_array_equal(batch.targets, np.eye(3, 5))
        for left, query in enumerate(batch.queries.tolist()):
            shown.append(query)
            assert batch.rows[left] in ([0, 10] if query == 0 else [query])
    assert sorted(shown) == sorted(list(range(7)) * 3)


def test_pair_batch_is_no_larger_than_the_evidence():
    batch = ContrastiveBatches(shop_of([("q", 0, 1.0)]), SHAPE).batch("pairs", 5, seed=0)
    assert batch.targets.shape == (1, 3)


def test_baskets_give_two_different_products_of_one_basket_and_hide_the_rest_of_it():
    baskets = [[0, 1, 2], [3, 4]]
    supervision = ContrastiveBatches(shop_of(baskets=baskets, products=5), SHAPE, kinds=["baskets"])
    for number in range(20):
        batch = supervision.batch("baskets", number, seed=0)
        for left, anchor in enumerate(batch.queries.tolist()):
            basket = next(basket for basket in baskets if anchor in basket)
            assert batch.rows[left] in basket
            assert batch.rows[left] != anchor
            for right, row in enumerate(batch.rows.tolist()):
                assert batch.hidden[left, right] == (row in basket and right != left)


def test_popular_products_are_drawn_less_often_than_they_are_bought():
    baskets = [[0, 2 * n + 1, 2 * n + 2] for n in range(14)]
    supervision = ContrastiveBatches(shop_of(baskets=baskets), SHAPE, kinds=["baskets"])
    anchors = np.concatenate([supervision.batch("baskets", number, seed=0).queries for number in range(200)])
    share = float((anchors == 0).mean())
    assert 0.05 < share < 0.2  # a third of all purchases


def test_weights_average_one_and_follow_the_judgements():
    judgements = [("a", 0, 1.0, 3.0), ("b", 1, 1.0, 1.0)]
    batch = ContrastiveBatches(shop_of(judgements), SHAPE).batch("pairs", 0, seed=0)
    weight = dict(zip(batch.queries.tolist(), batch.weights.tolist(), strict=True))
    assert weight == {0: pytest.approx(1.5), 1: pytest.approx(0.5)}


def test_equal_seeds_give_equal_batches_and_plans_others_give_others():
    judgements = [(f"q{n}", n, 1.0) for n in range(9)] + [(f"q{n}", n + 9, 0.0) for n in range(9)]
    shop = shop_of(judgements, baskets=[[n, n + 1] for n in range(20)])
    first, second = ContrastiveBatches(shop, SHAPE), ContrastiveBatches(shop, SHAPE)
    assert first.plan(40, seed=3) == second.plan(40, seed=3)
    assert first.plan(40, seed=3) != second.plan(40, seed=4)
    for kind in ("lists", "pairs", "baskets", "catalogue"):
        one, two = first.batch(kind, 6, seed=3), second.batch(kind, 6, seed=3)
        np.testing.assert_array_equal(one.rows, two.rows)
        np.testing.assert_array_equal(one.queries, two.queries)
        assert not np.array_equal(one.rows, first.batch(kind, 6, seed=4).rows)


def test_plan_counts_batches_of_each_kind_from_zero():
    shop = shop_of([("q", 0, 1.0), ("q", 1, 0.0)], baskets=[[2, 3], [4, 5]])
    plan = ContrastiveBatches(shop, SHAPE).plan(30, seed=0)
    assert {kind for kind, _ in plan} == {"lists", "pairs", "baskets", "catalogue"}
    for kind in ("lists", "pairs", "baskets", "catalogue"):
        numbers = [number for of_kind, number in plan if of_kind == kind]
        assert numbers == list(range(len(numbers)))


def test_baskets_take_at_most_as_many_steps_as_judgements():
    shop = shop_of([("q", 0, 1.0), ("q", 1, 0.0)], baskets=[[n, n + 1] for n in range(20)])
    assert ContrastiveBatches(shop, SHAPE).batches_per_epoch() == {"lists": 1, "pairs": 1, "baskets": 2, "catalogue": 4}
    assert ContrastiveBatches(shop, SHAPE, kinds=["catalogue"]).batches_per_epoch()["catalogue"] == 20
    assert ContrastiveBatches(shop, SHAPE, kinds=["baskets"]).batches_per_epoch()["baskets"] == 10


def test_long_lists_are_visited_once_for_each_list_size():
    judgements = [("q", n, n / 20) for n in range(20)]
    supervision = ContrastiveBatches(shop_of(judgements), SHAPE, kinds=["lists"])
    assert supervision.batches_per_epoch()["lists"] == 3  # 20 products, 4 a list, 2 lists a batch


def test_texts_of_the_catalogue_belong_to_their_products_and_no_other_product_is_hidden():
    supervision = ContrastiveBatches(shop_of(), SHAPE, kinds=["catalogue"])
    batch = supervision.batch("catalogue", 0, seed=0)
    for left, query in enumerate(batch.queries):
        row = batch.rows[int(np.argmax(batch.targets[left]))]
        assert supervision.queries[query] in (f"Product {row}", "Product")
        assert set(batch.rows[batch.hidden[left]]) <= {row}


@pytest.mark.parametrize("kind", ["lists", "pairs"])
def test_mined_negatives_stand_beside_the_random_ones_of_judged_queries(kind):
    shop = shop_of([("q", 0, 1.0), ("q", 1, 0.0), ("r", 2, 1.0), ("r", 3, 0.0)])
    mined = {"q": np.array([7, 8, 9])}
    shape = BatchShape(lists=2, list_size=2, pairs=2, negatives=1, hard=2)
    supervision = ContrastiveBatches(shop, shape, hard=mined)
    batch = supervision.batch(kind, 0, seed=0)
    # Two queries with two mined each; "r" has none of its own and gets random products.
    place = supervision.queries.index("q") == batch.queries
    added = batch.rows[-4:].reshape(2, 2)
    assert set(added[place].ravel().tolist()) < {7, 8, 9}
    assert len(batch.rows) == len(ContrastiveBatches(shop, SHAPE_WITHOUT).batch(kind, 0, seed=0).rows) + 4
    assert (batch.targets[:, -4:] == 0).all()


SHAPE_WITHOUT = BatchShape(lists=2, list_size=2, pairs=2, negatives=1)
