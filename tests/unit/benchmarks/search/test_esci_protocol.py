import numpy as np
import pytest

from benchmarks.peers.lexical import Bm25Peer
from benchmarks.search.esci_protocol import (
    PAIRS_GROUP,
    QueryFigures,
    load_esci,
    queries_of,
    query_figures,
    random_floor,
    score_figures,
    shop_without,
    summarize,
)
from edge_runtime.contract.errors import ConfigError
from tests.support.esci_shaped import NEAR_COPY, QUERIES, TEST_FOLD, write_esci_shaped


@pytest.fixture
def data(tmp_path):
    write_esci_shaped(tmp_path)
    return load_esci(tmp_path)


def test_products_carry_every_field_of_the_tables(data):
    plain, full = data.products[0], data.products[1]
    assert (full.product_id, full.brand, full.category) == ("p1", "nordic", "Home > Light")
    assert full.description.startswith("sturdy a ")
    assert dict(full.attributes) == {"color": "blue"}
    assert plain.category is None
    assert data.peer_texts[1] == "small blue lamp nordic blue"


def test_labels_become_the_published_gains(data):
    assert list(data.judged[QUERIES[0]].values()) == [1.0, 0.1, 0.01, 0.0] * 2


def test_marked_pairs_and_pairs_of_judged_queries_are_left_out(data):
    assert {pair.query for pair in data.pairs} == {"the red lamp", "smart steel mug", "small casa mug"}
    assert {pair.query for pair in data.extras} == {NEAR_COPY, "acme gift set"}
    assert [product.product_id for product in data.pair_products] == ["x1", "x2"]


def test_every_judged_query_is_a_test_query_once(data):
    tests = [query for fold in range(5) for query in queries_of(data, fold)]
    assert sorted(tests) == sorted(QUERIES)


def test_nothing_of_a_test_query_reaches_its_shop(data):
    shop = shop_without(data, TEST_FOLD)
    words = {frozenset(query.split()) for query in shop.queries} | {
        frozenset(pair.query.split()) for pair in shop.labelled
    }
    for query in queries_of(data, TEST_FOLD):
        assert frozenset(query.split()) not in words
    assert not {NEAR_COPY, "the red lamp", "a red lamp"}.intersection(shop.queries)


def test_judged_query_near_a_test_query_of_another_fold_does_not_train(data):
    data.judged["large red lamp"] = {0: 1.0}
    data.folds["large red lamp"] = (TEST_FOLD + 1) % 5
    shop = shop_without(data, TEST_FOLD)
    assert "large red lamp" not in {*shop.queries, *(pair.query for pair in shop.labelled)}


def test_other_folds_train_with_the_near_copies(data):
    other = next(fold for fold in range(5) if fold != TEST_FOLD and queries_of(data, fold))
    shop = shop_without(data, other)
    assert {QUERIES[0], NEAR_COPY, "the red lamp", "a red lamp"}.issubset(shop.queries)


def test_pairs_and_wands_can_be_left_out(data):
    shop = shop_without(data, TEST_FOLD, pairs=False, wands=False)
    assert shop.products == data.products
    assert not {"smart steel mug", "nordic furniture"}.intersection(shop.queries)
    full = shop_without(data, TEST_FOLD)
    assert {product.product_id for product in full.products if product.group == PAIRS_GROUP} == {"x1", "x2"}


def test_missing_table_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"esci_us/products\.parquet"):
        load_esci(tmp_path)


def test_figures_of_a_ranking_computed_by_hand():
    gains = {0: 1.0, 3: 0.1, 5: 0.0}
    figures = query_figures(gains, rerank=np.array([0.1, 0.9, 0.5]), retrieved=[3, 7, 0])
    ideal = 1.0 + 0.1 / np.log2(3)
    assert figures.rerank_ndcg10 == pytest.approx((0.1 + 1.0 / np.log2(4)) / ideal)
    assert figures.retrieval_ndcg10 == pytest.approx((0.1 + 1.0 / np.log2(4)) / ideal)
    assert figures.recall100 == 1.0


def test_only_exact_products_count_for_recall():
    scores = np.linspace(1.0, 0.0, 300)
    assert score_figures({0: 1.0, 200: 1.0, 250: 0.1}, scores).recall100 == 0.5


def test_perfect_scores_give_one_and_intervals_without_width():
    scores = np.zeros(30)
    scores[[4, 9]] = [2.0, 1.0]
    summary = summarize([score_figures({9: 0.1, 4: 1.0}, scores)] * 3)
    assert (summary.queries, summary.rerank_ndcg10, summary.retrieval_ndcg10, summary.recall100) == (3, 1.0, 1.0, 1.0)
    assert summary.rerank_ci95 == (1.0, 1.0)


def test_random_floor_is_what_random_scores_get_on_average():
    gains, random = {row: float(row < 5) for row in range(20)}, np.random.default_rng(1)
    drawn = [score_figures(gains, random.random(500)) for _ in range(1_000)]
    floor = random_floor(gains, 500)
    assert floor.recall100 == 0.2 == pytest.approx(np.mean([one.recall100 for one in drawn]), abs=0.02)
    assert floor.rerank_ndcg10 == pytest.approx(np.mean([one.rerank_ndcg10 for one in drawn]), abs=0.02)
    assert floor.retrieval_ndcg10 == pytest.approx(np.mean([one.retrieval_ndcg10 for one in drawn]), abs=0.01)
    assert random_floor({0: 0.1}, 500).recall100 == 0.0


def test_published_peer_is_reproduced_on_the_real_data(real_data):
    data = load_esci(real_data.folder)
    counts = (len(data.products), len(data.judged), len(data.pairs))
    assert counts == real_data.figure(full=(6_764, 150, 2_176), excerpt=(205, 5, 52))
    peer = Bm25Peer(data.peer_texts)
    figures: list[QueryFigures] = [score_figures(gains, peer.score_all(query)) for query, gains in data.judged.items()]
    summary = summarize(figures)
    # The excerpt's figures were measured once: there they say that nothing changed, on the whole that it is right.
    rerank, retrieval, recall = real_data.figure(full=(0.651, 0.592, 0.837), excerpt=(0.738, 0.704, 0.944))
    assert summary.rerank_ndcg10 == pytest.approx(rerank, abs=0.002)
    assert summary.retrieval_ndcg10 == pytest.approx(retrieval, abs=0.002)
    assert summary.recall100 == pytest.approx(recall, abs=0.002)
