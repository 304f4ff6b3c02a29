"""The cold start: which purchases are taken away, who is asked, and what the figures say of a good and a bad ranking."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from benchmarks.recommendation import online_retail_cold
from benchmarks.recommendation.online_retail_cold import ColdData, hold_products_out, judge_cold, judge_random, run_cold
from benchmarks.recommendation.online_retail_protocol import Customer, RetailData
from edge_runtime.contract.errors import ConfigError
from tests.support.shops import make_shop
from tests.support.toy_bundle import make_toy_bundle
from tests.support.toy_shop import toy_products
from train.data.tables import Basket


def rows(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int32)


@pytest.fixture
def retail() -> RetailData:
    """Each customer bought three neighbors on a ring twice, and buys them again in the test basket."""
    products = toy_products()
    count = len(products)
    baskets, customers = {}, []
    for number in range(20):
        own = np.sort(rows(*((number + step) % count for step in range(3))))
        baskets[f"u{number:02}"] = (Basket(1.0, own), Basket(2.0, own))
        customers.append(Customer(f"u{number:02}", (own, own), own))
    return RetailData(make_shop(products, baskets=baskets), tuple(customers))


def product_table(retail: RetailData) -> pa.Table:
    return pa.table(
        {
            "product_id": [product.product_id for product in retail.training.products],
            "title": [product.title for product in retail.training.products],
        }
    )


@pytest.fixture
def cold(retail: RetailData, tmp_path: Path) -> ColdData:
    return hold_products_out(retail, product_table(retail), 0.25, tmp_path / "cold")


def test_held_out_product_is_in_no_purchase_and_still_in_the_catalogue(retail: RetailData, cold: ColdData) -> None:
    bought = {row for of in cold.data.training.baskets.values() for basket in of for row in basket.rows.tolist()}
    assert len(cold.held_out) >= 2
    assert not bought & set(cold.held_out.tolist())
    assert [one.product_id for one in cold.data.training.products] == [
        one.product_id for one in retail.training.products
    ]
    assert cold.sold.min() > 0


def test_only_customers_who_buy_a_held_out_product_are_asked_and_only_for_those(cold: ColdData) -> None:
    assert cold.data.customers
    for customer in cold.data.customers:
        assert len(customer.basket)
        assert np.isin(customer.basket, cold.held_out).all()
        assert not np.isin(customer.bought, cold.held_out).any()


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5])
def test_share_that_leaves_nothing_to_compare_is_refused(retail: RetailData, tmp_path: Path, share: float) -> None:
    with pytest.raises(ConfigError, match="expected a share between 0 and 1"):
        hold_products_out(retail, product_table(retail), share, tmp_path / "cold")


def test_right_answer_has_the_best_figure_and_random_lies_between(cold: ColdData) -> None:
    customers = cold.data.customers
    right = judge_cold("right", lambda customer: customer.basket.tolist(), customers)
    wrong = judge_cold("wrong", lambda _: [], customers)
    assert (right.ndcg10, right.recall10, right.customers) == (1.0, 1.0, len(customers))
    assert wrong.ndcg10 == 0.0
    assert 0.0 < judge_random(cold).ndcg10 <= 1.0


def test_bundle_ranks_held_out_products_only(
    cold: ColdData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Letters:
        def encode(self, texts: list[str]) -> np.ndarray:
            return np.array([[text.count(letter) for letter in "aeiou"] for text in texts], dtype=np.float32)

    monkeypatch.setattr(online_retail_cold.Teacher, "open", lambda source: Letters())
    asked = []
    judge = online_retail_cold.judge_cold

    def remember(name, rank, customers):
        asked.extend(row for customer in customers for row in rank(customer))
        return judge(name, rank, customers)

    monkeypatch.setattr(online_retail_cold, "judge_cold", remember)
    bundle = make_toy_bundle(tmp_path / "bundle")
    run_cold(cold, bundle.folder, tmp_path / "out.json", Console(width=160))
    assert set(asked) <= set(cold.held_out.tolist())
    content = json.loads((tmp_path / "out.json").read_text())
    assert [row["name"] for row in content["rows"]][::3] == ["pocketrec int8", "random"]
    assert content["held_out_products"] == len(cold.held_out)
    assert "popularity, were it known" in capsys.readouterr().out
