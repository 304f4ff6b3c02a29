"""The Online Retail benchmark: the split, the figures, the peers, the result file; on purchases made up here."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.peers.baskets import (
    TifuKnn,
    UserKnn,
    als_peer,
    buy_again_peer,
    item_knn_peer,
    popularity_peer,
    purchase_counts,
    tifu_knn_peer,
    tuned,
    user_knn_peer,
)
from benchmarks.peers.sasrec import sasrec_peer
from benchmarks.recommendation import online_retail
from benchmarks.recommendation.online_retail import (
    PACKAGES,
    data_folder,
    judge_bundle,
    main,
    parse_arguments,
    parse_day,
    result_content,
)
from benchmarks.recommendation.online_retail_protocol import (
    Customer,
    RetailData,
    baskets_of,
    judge,
    load_retail,
    rank_scores,
)
from benchmarks.result_file import write_result
from edge_runtime.contract.errors import ConfigError
from tests.support.shops import make_shop
from tests.support.toy_bundle import make_toy_bundle
from tests.support.toy_shop import toy_products

PRODUCTS = 12


def invoice_line(number: int, day: int, row: int) -> dict[str, object]:
    return {
        "InvoiceNo": f"{number}{day}",
        "StockCode": f"{10_000 + row}",
        "Description": f"GIFT NUMBER {row}",
        "Quantity": 1,
        "InvoiceDate": f"2011-01-0{day + 1} 10:00:00",
        "UnitPrice": 1.5,
        "CustomerID": number,
        "Country": "France",
    }


def write_invoices(folder: Path) -> Path:
    """40 customers with four invoices of one product and its partner each, and one customer with two invoices."""
    lines = []
    for number in range(41):
        for day in range(4 if number < 40 else 2):
            code = (number + day) % PRODUCTS
            lines += [invoice_line(number, day, row) for row in (code, (code + 1) % PRODUCTS)]
    (folder / "online_retail").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(lines), folder / "online_retail" / "online_retail.parquet")
    return folder


@pytest.fixture(scope="module")
def retail(tmp_path_factory: pytest.TempPathFactory) -> RetailData:
    folder = tmp_path_factory.mktemp("retail")
    (folder / "work").mkdir()
    return load_retail(write_invoices(folder / "data"), folder / "work")


def row(retail: RetailData, number: int) -> int:
    ids = [product.product_id for product in retail.training.products]
    return ids.index(str(10_000 + number % PRODUCTS))


def test_last_invoice_is_the_test_basket_and_trains_nothing(retail: RetailData) -> None:
    assert len(retail.customers) == 40
    customer = next(one for one in retail.customers if one.user_id == "7")
    assert set(customer.basket.tolist()) == {row(retail, 10), row(retail, 11)}
    assert [set(one.tolist()) for one in customer.history] == [
        {row(retail, 7 + d), row(retail, 8 + d)} for d in range(3)
    ]
    trained = baskets_of(retail)
    assert [len(trained[user]) for user in ("7", "40")] == [3, 2]
    assert [one.tolist() for one in trained["7"]] == [one.tolist() for one in customer.history]


def customer(history: list[list[int]], basket: list[int]) -> Customer:
    return Customer("u", tuple(np.array(one, np.int32) for one in history), np.array(basket, np.int32))


def test_figures_of_a_hand_made_ranking() -> None:
    asked = customer([[0], [0, 1]], [0, 5, 6])

    def rank(_: Customer, new_only: bool) -> list[int]:
        return [9, 5] if new_only else [0, 9, 8, 5]

    line = judge("x", rank, [asked])
    assert line.recall10 == pytest.approx(2 / 3)
    assert line.ndcg10 == pytest.approx((1 + 1 / np.log2(5)) / (1 + 1 / np.log2(3) + 0.5))
    assert line.new_recall10 == pytest.approx(1 / 2)
    assert line.new_ndcg10 == pytest.approx((1 / np.log2(3)) / (1 + 1 / np.log2(3)))
    assert line.ndcg10_ci95 == (pytest.approx(line.ndcg10), pytest.approx(line.ndcg10))


def test_customers_without_new_products_do_not_count_among_the_new() -> None:
    line = judge("x", lambda *_: [0], [customer([[0]], [0]), customer([[0]], [1])])
    assert (line.customers, line.new_customers) == (2, 1)
    assert line.recall10 == 0.5
    only_old = judge("x", lambda *_: [0], [customer([[0]], [0])])
    assert (only_old.new_customers, only_old.new_recall10) == (0, 0.0)


def test_nobody_to_measure_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no customer has 3 invoices"):
        judge("x", lambda *_: [], [])


def test_bought_products_are_left_out_of_the_new_ones() -> None:
    scores = np.arange(12.0)
    asked = customer([[11, 10]], [0])
    assert rank_scores(scores, asked, False)[:2] == [11, 10]
    assert rank_scores(scores, asked, True)[:2] == [9, 8]
    assert scores[11] == 11.0


def test_buy_again_prefers_recent_then_popular() -> None:
    baskets = {"u": [np.array([1]), np.array([2])], "v": [np.array([3]), np.array([3])]}
    rank = buy_again_peer(purchase_counts(baskets, 5))
    assert rank(customer([[1], [2]], [0]), False)[:3] == [2, 1, 3]
    assert rank(customer([[1], [2]], [0]), True)[0] == 3


def test_counts_and_popularity_are_of_baskets() -> None:
    counts = purchase_counts({"u": [np.array([1, 2]), np.array([1])], "v": [np.array([2])]}, 4)
    assert counts.toarray().tolist() == [[0, 2, 1, 0], [0, 0, 1, 0]]
    assert popularity_peer(counts)(customer([[0]], [0]), True)[:2] == [1, 2]


def test_neighbors_beat_popularity_and_factors_know_the_customer(retail: RetailData) -> None:
    baskets = baskets_of(retail)
    counts, users = purchase_counts(baskets, PRODUCTS), list(baskets)
    floor = judge("floor", popularity_peer(counts), retail.customers).ndcg10
    assert judge("knn", item_knn_peer(counts, users), retail.customers).ndcg10 > floor
    factors = als_peer(counts, users, seed=0)
    assert np.mean([set(factors(one, False)[:4]) == set(one.bought.tolist()) for one in retail.customers]) > 0.9


def test_with_a_cut_off_nothing_after_it_trains_and_the_first_invoice_since_is_asked(
    retail: RetailData, tmp_path: Path
) -> None:
    cut = load_retail(write_invoices(tmp_path / "data"), tmp_path / "work", cut_off_s=parse_day("2011-01-03"))
    newest = max(basket.timestamp_s for of in cut.training.baskets.values() for basket in of)
    assert newest < parse_day("2011-01-03") < max(b.timestamp_s for of in retail.training.baskets.values() for b in of)
    assert len(cut.customers) == 40
    asked = next(one for one in cut.customers if one.user_id == "7")
    assert len(asked.history) == 2
    assert set(asked.basket.tolist()) == {row(retail, 9), row(retail, 10)}


def test_a_day_that_does_not_exist_is_no_cut_off() -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["--cut-off", "2011-13-01"])


def rows_of(*baskets: list[int]) -> list[np.ndarray]:
    return [np.array(one, np.int32) for one in baskets]


TWINS = {"u": rows_of([0, 1]), "v": rows_of([0, 1], [0, 2]), "w": rows_of([3], [4])}


def test_similar_customers_bring_what_the_customer_has_not_bought() -> None:
    asked = customer([[0, 1]], [2])
    for peer in (user_knn_peer(purchase_counts(TWINS, 5), TWINS), tifu_knn_peer(TWINS, 5, TifuKnn(neighbors=1))):
        assert peer(asked, True)[0] == 2
        assert set(peer(asked, False)[:2]) == {0, 1}


def test_user_frequency_counts_the_last_baskets_only() -> None:
    baskets, asked = {"u": rows_of([0], [1], [2])}, customer([[0], [1], [2]], [0])
    counts = purchase_counts(baskets, 3)
    assert user_knn_peer(counts, baskets, UserKnn(window=2))(asked, False) == [1, 2, 0]
    assert user_knn_peer(counts, baskets, UserKnn(window=1))(asked, False) == [2, 0, 1]


def test_item_frequency_decays_within_and_among_groups_as_worked_out_by_hand() -> None:
    baskets = {"u": rows_of([0], [1], [2]), "v": rows_of([3])}
    setting = TifuKnn(neighbors=1, group_size=2, basket_decay=0.5, group_decay=0.1, own_share=1.0)
    # Groups from the newest: {2, 1} and {0}; 2 -> 1/4, 1 -> 0.5/4, 0 -> 0.1/2.
    assert tifu_knn_peer(baskets, 4, setting)(customer([[0], [1], [2]], [3]), False) == [2, 1, 0, 3]


def test_settings_are_chosen_on_the_basket_before_the_test_basket(retail: RetailData) -> None:
    learned = []

    def make(baskets, right):
        learned.append(baskets["7"])
        return lambda asked, _: asked.basket.tolist() if right else []

    assert tuned(make, [False, True], retail) is True
    assert all(len(one) == 2 for one in learned)


def test_sasrec_learns_what_follows(retail: RetailData) -> None:
    steps: list[int] = []
    peer = sasrec_peer(baskets_of(retail), PRODUCTS, seed=0, steps=25, progress=lambda done, _: steps.append(done))
    top = [set(peer(one, False)[:4]) for one in retail.customers[:20]]
    hits = [len(found & set(one.basket.tolist())) for found, one in zip(top, retail.customers, strict=False)]
    assert np.mean(hits) > 1.0
    assert steps[-1] == 25


def test_bundle_is_asked_as_an_app_asks_it(tmp_path: Path) -> None:
    bundle = make_toy_bundle(tmp_path)
    data = RetailData(make_shop(toy_products()), (customer([[1], [2]], [1, 9]),))
    line = judge_bundle(bundle.folder, data, lambda _: lambda done, total: None)
    assert line.customers == line.new_customers == 1
    assert line.bytes is not None
    assert 0 < line.bytes < sum(artifact.length_bytes for artifact in bundle.manifest.artifacts)
    result = tmp_path / "results" / "retail.json"
    write_result(result, PACKAGES, result_content([line], bundle.folder))
    content = json.loads(result.read_text())
    assert content["config_digest"] == bundle.manifest.config_digest
    assert content["rows"][0]["name"] == "pocketrec int8"


def test_peers_run_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("POCKETREC_DATA", str(write_invoices(tmp_path / "data")))
    monkeypatch.setattr(online_retail, "sasrec_peer", lambda *_, **__: lambda *_: [0])
    out = tmp_path / "out.json"
    monkeypatch.setattr("sys.argv", ["x", "--peers-only", "--work", str(tmp_path / "work"), "--out", str(out)])
    assert main() == 0
    names = [line["name"] for line in json.loads(out.read_text())["rows"]]
    known = [
        "popularity",
        "buy again",
        "item-kNN, BM25",
        "ALS, 128 factors",
        "UP-CF, tuned",
        "TIFU-KNN, tuned",
        "SASRec",
    ]
    assert names == known
    assert "item-kNN" in capsys.readouterr().out


def test_missing_data_ends_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("POCKETREC_DATA", raising=False)
    with pytest.raises(ConfigError, match="POCKETREC_DATA"):
        data_folder()
    monkeypatch.setenv("POCKETREC_DATA", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["x", "--peers-only", "--work", str(tmp_path / "work")])
    assert main() == 1
    assert "online_retail" in capsys.readouterr().err


def test_options_have_defaults() -> None:
    options = parse_arguments([])
    assert (options.peers_only, options.bundle, options.config) == (False, None, None)
