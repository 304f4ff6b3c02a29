"""Cold start on Online Retail: products that nobody has bought are recommended by their texts alone.

All purchases of a random share of the products are removed before the training; their texts stay in the catalogue.
For every customer whose test basket holds such a product, the held-out products are ranked among each other by the rest
of the customer's history. Ranking them among all products would mostly compare rarely sold new products with
best sellers, for every peer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from benchmarks.recommendation.online_retail_protocol import TOP, Customer, RetailData, write_purchases
from benchmarks.result_file import write_result
from benchmarks.table_cells import interval_cell
from edge_runtime.contract.bundle import open_bundle
from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.types import Int32
from edge_runtime.recommender import Recommender
from train.evaluation.metrics import basket_figures, chance_basket_figures
from train.evaluation.quality_rows import BasketQuality
from train.models.teacher import Teacher

SEED = 0

ColdRank = Callable[[Customer], Sequence[int]]
"""Customer (history without held-out products) -> held-out rows, best first."""


@dataclass(frozen=True)
class ColdData:
    """What the cold start is measured on.

    Attributes:
        data: the shop without a purchase of a held-out product; customers whose test basket holds one, with histories
            and baskets of what is left and what is held out.
        held_out: rows of the held-out products, rising.
        sold: int64 [held-out], in how many baskets of the whole shop each was: what no shop knows of a new product.
    """

    data: RetailData
    held_out: Int32
    sold: npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class ColdRow(BasketQuality):
    """One line of the table, over customers."""

    name: str
    customers: int


def hold_products_out(data: RetailData, products: pa.Table, share: float, folder: Path) -> ColdData:
    """Take the purchases of a random share of the products away; write the shop that is left to `folder`.

    Raises:
        ConfigError: the share is not between 0 and 1, or nothing is left to measure.
    """
    if not 0.0 < share < 1.0:
        raise ConfigError(f"--cold-start {share}: expected a share between 0 and 1, like 0.1")
    baskets = [basket for of in data.training.baskets.values() for basket in of]
    sold = np.zeros(len(data.training.products), dtype=np.int64)
    for basket in baskets:
        sold[basket.rows] += 1
    bought = np.flatnonzero(sold)
    count = max(1, round(share * len(bought)))
    held_out = np.sort(np.random.default_rng(SEED).choice(bought, count, replace=False)).astype(np.int32)
    left = {
        user_id: [replace(basket, rows=np.setdiff1d(basket.rows, held_out)) for basket in of]
        for user_id, of in data.training.baskets.items()
    }
    customers = tuple(_customers_of(data, held_out))
    if not customers:
        raise ConfigError(f"--cold-start {share}: no test basket holds one of the {count} products held out")
    training = write_purchases(folder, products, data.training, left)
    return ColdData(RetailData(training, customers), held_out, sold[held_out])


def _customers_of(data: RetailData, held_out: Int32) -> list[Customer]:
    found = []
    for customer in data.customers:
        history = tuple(
            rest for rest in (basket[~np.isin(basket, held_out)] for basket in customer.history) if len(rest)
        )
        wanted = np.intersect1d(customer.basket, held_out)
        if len(wanted) and history:
            found.append(replace(customer, history=history, basket=wanted))
    return found


def cold_rankers(cold: ColdData, recommender: Recommender) -> Mapping[str, ColdRank]:
    """Return name -> ranker: our bundle, the nearest texts, and what they are held against."""
    products = cold.data.training.products
    ids = [product.product_id for product in products]
    row_of = {product_id: row for row, product_id in enumerate(ids)}
    others = [ids[row] for row in np.setdiff1d(np.arange(len(ids)), cold.held_out)]
    vectors = Teacher.open("minilm").encode([product.text for product in products])

    def ours(customer: Customer) -> list[int]:
        found = recommender.recommend([ids[row] for row in customer.bought], k=TOP, exclude=others)
        return [row_of[product_id] for product_id in found.product_ids]

    def nearest_text(customer: Customer) -> list[int]:
        return _best(cold, vectors[cold.held_out] @ vectors[customer.bought].mean(axis=0))

    return {
        "pocketrec int8": ours,
        "MiniLM float32, nearest to the mean of the history": nearest_text,
        "popularity, were it known": lambda _: _best(cold, cold.sold),
    }


def _best(cold: ColdData, scores: npt.NDArray[np.number]) -> list[int]:
    return cold.held_out[np.argsort(-scores, kind="stable")[:TOP]].tolist()


def judge_cold(name: str, rank: ColdRank, customers: Sequence[Customer]) -> ColdRow:
    """Return one line of the table."""
    return _row(name, [basket_figures(rank(customer), customer.basket.tolist(), TOP) for customer in customers])


def judge_random(cold: ColdData) -> ColdRow:
    """Return the line of random rankings: for each customer what is expected of them."""
    among = len(cold.held_out)
    return _row("random", [chance_basket_figures(len(one.basket), TOP, among=among) for one in cold.data.customers])


def _row(name: str, figures: Sequence[tuple[float, float]]) -> ColdRow:
    return ColdRow.of(figures, name=name, customers=len(figures))


def run_cold(cold: ColdData, bundle: Path, out: Path, console: Console) -> None:
    """Rank with the bundle and its peers; print the table and write the result file."""
    with Recommender.open(bundle) as recommender:
        rows = [judge_cold(name, rank, cold.data.customers) for name, rank in cold_rankers(cold, recommender).items()]
    rows.append(judge_random(cold))
    content = {
        "config_digest": open_bundle(bundle).manifest.config_digest,
        "held_out_products": len(cold.held_out),
        "rows": [asdict(row) for row in rows],
    }
    write_result(out, ("numpy", "ai-edge-litert", "tensorflow"), content)
    table = Table(f"{len(cold.held_out)} products without purchases", "customers", "recall@10", "nDCG@10")
    for row in rows:
        table.add_row(
            row.name,
            str(row.customers),
            interval_cell(row.recall10, row.recall10_ci95),
            interval_cell(row.ndcg10, row.ndcg10_ci95),
        )
    console.print(table)
