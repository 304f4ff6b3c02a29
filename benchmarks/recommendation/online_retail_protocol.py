"""The Online Retail protocol: a shop without test baskets, its customers, and the figures of one ranking.

Of each customer with at least three invoices the last one is the test basket and all before it the history. There is no
cut in time: what other customers bought after that basket is used for training, so every ranker sees demand and
popularity from the future of most customers. With a cut-off nothing from that day on trains, and the test basket is the
first one from then on. All products are ranked; figures are over the whole basket, and over its new products, which the
customer had never bought. recall@10 divides by min(10, products to find).
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
from train.data.tables import Basket, Shop
from train.data.writing import write_shop
from train.evaluation.metrics import basket_figures
from train.evaluation.quality_rows import BasketQuality, Interval

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


@dataclass(frozen=True, kw_only=True)
class Row(BasketQuality):
    """One line of the table, over customers.

    `new_…` are over the customers whose test basket holds a new product. `bytes` is encoder, tokenizer and catalogue.
    """

    name: str
    customers: int
    new_customers: int
    new_recall10: float
    new_recall10_ci95: Interval
    new_ndcg10: float
    new_ndcg10_ci95: Interval
    bytes: int | None = None


def load_retail(data: Path, work: Path, *, cut_off_s: float | None = None) -> RetailData:
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
    return split_shop(read_shop(work / "all"), tables["products"], work / "shop", cut_off_s=cut_off_s)


def split_shop(shop: Shop, products: pa.Table, folder: Path, *, cut_off_s: float | None = None) -> RetailData:
    """Take the test baskets away; write `products` and what is left of the purchases to `folder`.

    Args:
        shop: all purchases.
        products: the table of its products.
        folder: of the shop that is left.
        cut_off_s: nothing from this time on trains, and a test basket is a customer's first one from then on. None
            takes each customer's last one, whatever others bought later.
    """
    customers, left = [], dict[str, Sequence[Basket]]()
    for user_id, baskets in shop.baskets.items():
        history, test = _split(baskets, cut_off_s)
        left[user_id] = history
        if test is not None:
            customers.append(Customer(user_id, tuple(basket.rows for basket in history), np.sort(test.rows)))
    training = write_purchases(folder, products, shop, left)
    return RetailData(training, tuple(sorted(customers, key=lambda one: one.user_id)))


def _split(baskets: Sequence[Basket], cut_off_s: float | None) -> tuple[Sequence[Basket], Basket | None]:
    """Return the baskets that may train, and the test basket of a customer who has one."""
    if cut_off_s is None:
        return (baskets[:-1], baskets[-1]) if len(baskets) >= MIN_INVOICES else (baskets, None)
    history = [basket for basket in baskets if basket.timestamp_s < cut_off_s]
    tested = MIN_INVOICES - 1 <= len(history) < len(baskets)
    return history, baskets[len(history)] if tested else None


def write_purchases(folder: Path, products: pa.Table, shop: Shop, baskets: Mapping[str, Sequence[Basket]]) -> Shop:
    """Write `products` and `baskets`, rows into the products of `shop`, as the shop `folder`, and read it."""
    lines = [
        (user_id, shop.products[row].product_id, basket.timestamp_s, f"{user_id}-{number}")
        for user_id, of_user in baskets.items()
        for number, basket in enumerate(of_user)
        for row in basket.rows
    ]
    names = ("user_id", "product_id", "timestamp", "basket_id")
    purchases = pa.table({name: [line[at] for line in lines] for at, name in enumerate(names)})
    write_shop(folder, {"products": products, "purchases": purchases}, overwrite=True)
    return read_shop(folder)


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
    of_new = vars(BasketQuality.of(new or [(0.0, 0.0)]))
    return Row.of(
        whole,
        name=name,
        customers=len(whole),
        new_customers=len(new),
        bytes=size_bytes,
        **{f"new_{figure}": value for figure, value in of_new.items()},
    )


def mean_ndcg(rank: Rank, customers: Sequence[Customer]) -> float:
    """Return the mean nDCG@10 over the whole baskets, by which a peer's settings are chosen."""
    figures = [basket_figures(rank(customer, False), customer.basket.tolist(), TOP) for customer in customers]
    return float(np.mean(figures, axis=0)[1])


def baskets_of(data: RetailData) -> Mapping[str, tuple[Int32, ...]]:
    """Return the training baskets of all users, oldest first, as peers learn from them."""
    return {user: tuple(basket.rows for basket in baskets) for user, baskets in data.training.baskets.items()}
