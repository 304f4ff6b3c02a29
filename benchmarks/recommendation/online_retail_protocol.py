"""The Online Retail protocol: a shop without test baskets, its customers, and the figures of one ranking.

Of each customer with at least three invoices the last one is the test basket and all before it the history. All
products are ranked; figures are given over the whole basket and over its new products only, which the customer had
never bought. recall@10 divides by min(10, products to find).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.types import Int32
from train.data.importers.online_retail import import_online_retail
from train.data.reading import read_shop
from train.data.tables import Shop
from train.data.writing import write_shop
from train.evaluation.intervals import estimate_mean
from train.evaluation.metrics import basket_figures

SOURCE_FOLDER = "online_retail"
MIN_INVOICES = 3
TOP = 10

Rank = Callable[["Customer", bool], Sequence[int]]
"""(customer, new products only) -> the best rows, best first; `TOP` of them are looked at."""


@dataclass(frozen=True)
class Customer:
    """A customer with a test basket; rows into the products of the shop."""

    user_id: str
    history: tuple[Int32, ...]
    basket: Int32

    @property
    def bought(self) -> Int32:
        """All rows of the history, oldest first, repeats included."""
        return np.concatenate(self.history)


@dataclass(frozen=True)
class RetailData:
    """The shop without test baskets (which is all that may train), and the customers who have one."""

    training: Shop
    customers: tuple[Customer, ...]


@dataclass(frozen=True)
class Row:
    """One line of the table: means over customers with 95% bootstrap intervals.

    `new_…` are over the customers whose test basket holds a new product. `bytes` is encoder, tokenizer and catalogue.
    """

    name: str
    customers: int
    recall10: float
    recall10_ci95: tuple[float, float]
    ndcg10: float
    ndcg10_ci95: tuple[float, float]
    new_customers: int
    new_recall10: float
    new_recall10_ci95: tuple[float, float]
    new_ndcg10: float
    new_ndcg10_ci95: tuple[float, float]
    bytes: int | None = None


def load_retail(data: Path, work: Path) -> RetailData:
    """Import the purchases below `data`, and write the shop without test baskets to `work/shop`.

    Raises:
        ConfigError: `data` has no folder of the data set.
        ShopError: the data set is malformed.
    """
    source = data / SOURCE_FOLDER
    if not source.is_dir():
        raise ConfigError(f"{source} is no folder; POCKETREC_DATA must name the folder that holds {SOURCE_FOLDER}")
    tables = import_online_retail(source)
    write_shop(work / "all", tables, overwrite=True)
    return split_shop(read_shop(work / "all"), tables["products"], work / "shop")


def split_shop(shop: Shop, products: pa.Table, folder: Path) -> RetailData:
    """Take each customer's last invoice away; write `products` and what is left of the purchases to `folder`."""
    customers = []
    left: dict[str, list[str | float]] = {"user_id": [], "product_id": [], "timestamp": [], "basket_id": []}
    for user_id, baskets in shop.baskets.items():
        tested = len(baskets) >= MIN_INVOICES
        if tested:
            customers.append(
                Customer(user_id, tuple(basket.rows for basket in baskets[:-1]), np.sort(baskets[-1].rows))
            )
        for number, basket in enumerate(baskets[:-1] if tested else baskets):
            for row in basket.rows:
                left["user_id"].append(user_id)
                left["product_id"].append(shop.products[row].product_id)
                left["timestamp"].append(basket.timestamp_s)
                left["basket_id"].append(f"{user_id}-{number}")
    write_shop(folder, {"products": products, "purchases": pa.table(left)}, overwrite=True)
    return RetailData(read_shop(folder), tuple(sorted(customers, key=lambda one: one.user_id)))


def rank_scores(scores: npt.NDArray[np.floating], customer: Customer, new_only: bool) -> list[int]:
    """Return the `TOP` rows of `scores` float [products], best first, ties by row."""
    if new_only:
        scores = np.array(scores, dtype=np.float64)
        scores[customer.bought] = -np.inf
    return np.argsort(-scores, kind="stable")[:TOP].tolist()


def judge(
    name: str,
    rank: Rank,
    customers: Sequence[Customer],
    *,
    size_bytes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Row:
    """Rank for every customer and return the line of the table.

    Raises:
        ConfigError: there is no customer.
    """
    if not customers:
        raise ConfigError(f"no customer has {MIN_INVOICES} invoices, so there is nothing to measure")
    whole: list[tuple[float, float]] = []
    new: list[tuple[float, float]] = []
    for number, customer in enumerate(customers):
        whole.append(basket_figures(rank(customer, False), customer.basket.tolist(), TOP))
        fresh = np.setdiff1d(customer.basket, customer.bought)
        if len(fresh):
            new.append(basket_figures(rank(customer, True), fresh.tolist(), TOP))
        if progress is not None:
            progress(number + 1, len(customers))
    recall, ndcg = np.array(whole).T
    new_recall, new_ndcg = np.array(new or [(0.0, 0.0)]).T
    whole_estimates = (*estimate_mean(recall), *estimate_mean(ndcg))
    new_estimates = (*estimate_mean(new_recall), *estimate_mean(new_ndcg))
    return Row(name, len(whole), *whole_estimates, len(new), *new_estimates, size_bytes)


def baskets_of(data: RetailData) -> Mapping[str, tuple[Int32, ...]]:
    """Return the training baskets of all users, oldest first, as peers learn from them."""
    return {user: tuple(basket.rows for basket in baskets) for user, baskets in data.training.baskets.items()}
