"""The Online Retail benchmark: `python -m benchmarks.recommendation.online_retail`; `POCKETREC_DATA` names the data.

A shop without the test baskets is built into a bundle by `pocketrec build`; the bundle and all peers then recommend for
the same customers. benchmarks/recommendation/online_retail_protocol.py has the protocol.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks import command
from benchmarks.peers.baskets import (
    TIFU_GRID,
    USER_KNN_GRID,
    Baskets,
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
from benchmarks.recommendation.online_retail_cold import hold_products_out, run_cold
from benchmarks.recommendation.online_retail_protocol import (
    TOP,
    Customer,
    Rank,
    RetailData,
    Row,
    baskets_of,
    judge,
    load_retail,
)
from benchmarks.result_file import RESULTS, write_result
from benchmarks.table_cells import interval_cell, megabytes_cell
from edge_runtime.contract.bundle import CATALOGUE_FILES, MODEL_FILES, open_bundle
from edge_runtime.recommender import Recommender

RESULT_FILE = RESULTS / "online_retail.json"
COLD_RESULT_FILE = RESULTS / "online_retail_cold.json"
CUT_OFF_RESULT_FILE = RESULTS / "online_retail_cut_off.json"
PACKAGES = ("numpy", "ai-edge-litert", "implicit", "tensorflow")
SEED = 0

Show = Callable[[str], Callable[[int, int], None]]
"""Name of a piece of work -> its progress."""


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recommendation.online_retail", description=__doc__)
    parser.add_argument("--peers-only", action="store_true", help="recommend with the peers only, build nothing")
    parser.add_argument("--bundle", type=Path, help="recommend with this bundle instead of building one")
    parser.add_argument("--config", type=Path, help="settings of the build (TOML)")
    parser.add_argument(
        "--cold-start",
        type=float,
        metavar="SHARE",
        help="measure products whose purchases are held out instead, like 0.1",
    )
    parser.add_argument(
        "--cut-off",
        type=parse_day,
        metavar="DAY",
        help="train on nothing from this day on, and test on each customer's first invoice since, like 2011-11-01",
    )
    parser.add_argument("--work", type=Path, default=Path("work/online_retail"), help="shop and bundle are kept here")
    parser.add_argument(
        "--out", type=Path, help=f"where the result file goes, by default {RESULT_FILE.name} in benchmarks/results"
    )
    return parser.parse_args(arguments)


def data_folder() -> Path:
    """Return the folder of the data (benchmarks/command.py)."""
    return command.data_folder("online_retail")


def parse_day(text: str) -> float:
    """Return the seconds since 1970 at which a day like "2011-11-01" begins, in UTC as the invoices are read.

    Raises:
        ValueError: no such day.
    """
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def judge_bundle(folder: Path, data: RetailData, show: Show) -> Row:
    """Return our line of the table: the int8 bundle in `folder`, asked as an app asks it."""
    ids = [product.product_id for product in data.training.products]
    row_of = {product_id: row for row, product_id in enumerate(ids)}
    sizes = {artifact.path: artifact.length_bytes for artifact in open_bundle(folder).manifest.artifacts}
    name = "pocketrec int8"
    with Recommender.open(folder) as recommender:

        def rank(customer: Customer, new_only: bool) -> list[int]:
            history = [ids[row] for row in customer.bought]
            found = recommender.recommend(history, k=TOP, exclude=history if new_only else ())
            return [row_of[product_id] for product_id in found.product_ids]

        size = sum(sizes[file] for file in (*MODEL_FILES, *CATALOGUE_FILES))
        return judge(name, rank, data.customers, size_bytes=size, progress=show(name))


def judge_peers(data: RetailData, show: Show) -> list[Row]:
    """Train the peers on the same shop and return their lines."""
    baskets, products = baskets_of(data), len(data.training.products)
    counts, users = purchase_counts(baskets, products), list(baskets)

    def learn_user_knn(before: Baskets, setting: UserKnn) -> Rank:
        return user_knn_peer(purchase_counts(before, products), before, setting)

    def learn_tifu(before: Baskets, setting: TifuKnn) -> Rank:
        return tifu_knn_peer(before, products, setting)

    peers = {
        "popularity": popularity_peer(counts),
        "buy again": buy_again_peer(counts),
        "item-kNN, BM25": item_knn_peer(counts, users),
        "ALS, 128 factors": als_peer(counts, users, seed=SEED),
        "UP-CF, tuned": user_knn_peer(counts, baskets, tuned(learn_user_knn, USER_KNN_GRID, data)),
        "TIFU-KNN, tuned": tifu_knn_peer(baskets, products, tuned(learn_tifu, TIFU_GRID, data)),
        "SASRec": sasrec_peer(baskets, products, seed=SEED, progress=show("SASRec learns")),
    }
    return [judge(name, peer, data.customers, progress=show(name)) for name, peer in peers.items()]


def print_table(rows: Sequence[Row], console: Console) -> None:
    """Print the rows with intervals."""
    table = Table("", "recall@10", "nDCG@10", "new: recall@10", "new: nDCG@10", "MB")
    for row in rows:
        table.add_row(
            row.name,
            interval_cell(row.recall10, row.recall10_ci95),
            interval_cell(row.ndcg10, row.ndcg10_ci95),
            interval_cell(row.new_recall10, row.new_recall10_ci95),
            interval_cell(row.new_ndcg10, row.new_ndcg10_ci95),
            megabytes_cell(row.bytes),
        )
    console.print(table)


def result_content(rows: Sequence[Row], bundle: Path | None) -> dict[str, Any]:
    """Return what the result file says: digest of the build's settings and rows."""
    return {
        "config_digest": open_bundle(bundle).manifest.config_digest if bundle else None,
        "rows": [asdict(row) for row in rows],
    }


def run(options: argparse.Namespace) -> None:
    """Run the benchmark and write its result file.

    Raises:
        PocketrecError: wrong options, missing data, or a build that failed.
    """
    messages = Console(stderr=True)
    work, out = options.work, options.out or RESULT_FILE
    if options.cut_off is not None:
        work, out = work / f"cut-off-{options.cut_off:.0f}", options.out or CUT_OFF_RESULT_FILE
    work.mkdir(parents=True, exist_ok=True)
    data = load_retail(data_folder(), work, cut_off_s=options.cut_off)
    if options.cold_start is not None:
        run_cold_start(options, data, work, messages)
        return
    messages.print(f"{len(data.training.products):,} products, {len(data.customers):,} customers with a test basket")
    bundle: Path | None = None
    if not options.peers_only:
        bundle = options.bundle or work / "bundle"
        if options.bundle is None:
            command.build_bundle(work / "shop", bundle, config=options.config)
    with _shown(messages) as show:
        rows = [judge_bundle(bundle, data, show)] if bundle else []
        rows += judge_peers(data, show)
    write_result(out, PACKAGES, result_content(rows, bundle))
    print_table(rows, Console(width=160))


def run_cold_start(options: argparse.Namespace, data: RetailData, work: Path, messages: Console) -> None:
    """Build a bundle of the shop whose held-out products have no purchases, and measure how it recommends these.

    Raises:
        ConfigError: a share that leaves nothing to measure.
        PocketrecError: a build that failed.
    """
    products = pq.read_table(work / "shop" / "products.parquet")
    cold = hold_products_out(data, products, options.cold_start, work / "cold")
    messages.print(f"{len(cold.held_out):,} products lose their purchases, {len(cold.data.customers):,} customers")
    bundle = options.bundle or work / "cold-bundle"
    if options.bundle is None:
        command.build_bundle(work / "cold", bundle, config=options.config)
    run_cold(cold, bundle, options.out or COLD_RESULT_FILE, Console(width=160))


@contextmanager
def _shown(console: Console) -> Iterator[Show]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:

        def show(what: str) -> Callable[[int, int], None]:
            task = progress.add_task(what, total=None)
            return lambda done, total: progress.update(task, completed=done, total=total)

        yield show


def main() -> int:
    """Run; return the exit code."""
    options = parse_arguments()
    return command.exit_code_of("benchmarks.recommendation.online_retail", lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
