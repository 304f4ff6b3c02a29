import dataclasses
import json

import numpy as np
import pytest

from compress.measure.evaluate import evaluate_bundle
from edge_runtime.recommender import Recommender
from tests.support.shops import make_shop
from tests.support.toy_bundle import make_toy_bundle
from tests.support.toy_shop import toy_products
from train.data.tables import Basket, Judgement, Product
from train.errors import EmptyDatasetError

PRODUCTS = toy_products()
ROW = {product.product_id: row for row, product in enumerate(PRODUCTS)}


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return make_toy_bundle(tmp_path_factory.mktemp("bundle")).folder


@pytest.fixture(scope="module")
def recommender(toy):
    with Recommender.open(toy) as opened:
        yield opened


def basket(time, *product_ids):
    return Basket(timestamp_s=float(time), rows=np.array([ROW[one] for one in product_ids], np.int32))


def judged(query, gains):
    return [Judgement(query=query, row=ROW[product_id], gain=gain) for product_id, gain in gains.items()]


def test_judgements_that_agree_with_the_bundle_score_one(toy, recommender):
    best = recommender.search("red lamp", k=3, mode="dense").product_ids
    shop = make_shop(PRODUCTS, judgements=judged("red lamp", {best[0]: 1.0, best[1]: 0.5, best[2]: 0.0}))
    dense = next(one for one in evaluate_bundle(toy, shop).ranking if one.mode == "dense")
    assert (dense.queries, dense.rerank_ndcg10, dense.retrieval_ndcg10, dense.recall100) == (1, 1.0, 1.0, 1.0)
    assert dense.rerank_ci95 == (1.0, 1.0)


def test_judgements_against_the_bundle_score_below_one(toy, recommender):
    best = recommender.search("red lamp", k=30, mode="dense").product_ids
    shop = make_shop(PRODUCTS, judgements=judged("red lamp", {best[0]: 0.0, best[29]: 1.0}))
    dense = next(one for one in evaluate_bundle(toy, shop).ranking if one.mode == "dense")
    assert dense.rerank_ndcg10 == pytest.approx(1 / np.log2(3))
    assert dense.retrieval_ndcg10 == 0.0


def test_each_mode_is_measured(toy):
    shop = make_shop(PRODUCTS, judgements=judged("red lamp", {"p0": 1.0, "p1": 0.0}))
    assert [one.mode for one in evaluate_bundle(toy, shop).ranking] == ["dense", "lexical", "hybrid"]


def test_query_without_any_gain_says_nothing(toy):
    judgements = judged("red lamp", {"p0": 1.0}) + judged("blue mug", {"p1": 0.0, "p2": 0.0})
    ranking = evaluate_bundle(toy, make_shop(PRODUCTS, judgements=judgements)).ranking
    assert {one.queries for one in ranking} == {1}


def test_recall_is_left_out_where_no_product_is_relevant(toy):
    shop = make_shop(PRODUCTS, judgements=judged("red lamp", {"p0": 0.1, "p1": 0.0}))
    ranking = evaluate_bundle(toy, shop).ranking
    assert all(one.recall100 is None and one.recall100_ci95 is None for one in ranking)


def test_last_basket_is_predicted_from_those_before(toy, recommender):
    expected = recommender.recommend(["p0", "p6"], k=10).product_ids
    baskets = {"u": (basket(1, "p0"), basket(2, "p6"), basket(3, expected[0], expected[1]))}
    result = evaluate_bundle(toy, make_shop(PRODUCTS, baskets=baskets))
    assert result.ranking == ()
    assert (result.whole_basket.users, result.whole_basket.recall10, result.whole_basket.ndcg10) == (1, 1.0, 1.0)


def test_new_products_are_ranked_without_those_bought_before(toy, recommender):
    first_new = recommender.recommend(["p0"], k=1, exclude=["p0"]).product_ids[0]
    baskets = {"u": (basket(1, "p0"), basket(2, "p0", first_new))}
    result = evaluate_bundle(toy, make_shop(PRODUCTS, baskets=baskets))
    assert (result.new_products.users, result.new_products.recall10, result.new_products.ndcg10) == (1, 1.0, 1.0)


def test_user_with_one_basket_or_none_new_is_left_out(toy):
    baskets = {"one": (basket(1, "p0"),), "none": (), "again": (basket(1, "p0"), basket(2, "p0"))}
    result = evaluate_bundle(toy, make_shop(PRODUCTS, baskets=baskets))
    assert result.whole_basket.users == 1
    assert result.new_products is None


def test_products_that_the_bundle_lacks_are_counted_and_left_out(toy):
    products = (*PRODUCTS, Product(product_id="later", title="a product of tomorrow"))
    judgements = [*judged("red lamp", {"p0": 1.0}), Judgement(query="red lamp", row=30, gain=1.0)]
    result = evaluate_bundle(toy, make_shop(products, judgements=judgements))
    assert result.unknown_products == 1
    assert result.ranking[0].queries == 1


def test_shop_that_trained_the_bundle_earns_a_caution(toy):
    shop = make_shop(PRODUCTS, judgements=judged("red lamp", {"p0": 1.0}))
    assert "held out" in evaluate_bundle(toy, shop).caution
    assert evaluate_bundle(toy, dataclasses.replace(shop, digest="1" * 64)).caution is None


def test_shop_without_anything_to_measure_is_refused(toy):
    with pytest.raises(EmptyDatasetError, match="nothing to evaluate on"):
        evaluate_bundle(toy, make_shop(PRODUCTS, baskets={"u": (basket(1, "p0"),)}))


def test_progress_counts_queries_and_users(toy):
    told = []
    shop = make_shop(
        PRODUCTS,
        judgements=judged("red lamp", {"p0": 1.0}) + judged("mug", {"p1": 1.0}),
        baskets={"u": (basket(1, "p0"), basket(2, "p1"))},
    )
    result = evaluate_bundle(toy, shop, progress=lambda *step: told.append(step))
    assert told == [("queries", 1, 2), ("queries", 2, 2), ("users", 1, 1)]
    json.dumps(dataclasses.asdict(result))
