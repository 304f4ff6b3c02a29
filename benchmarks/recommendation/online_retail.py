"""The Online Retail benchmark: `python -m benchmarks.recommendation.online_retail`, with `POCKETREC_DATA` naming the folder of the data.

A shop without the test baskets is built into a bundle by `pocketrec build`; the bundle and all peers then recommend for
the same customers. benchmarks/recommendation/online_retail_protocol.py has the protocol.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.machine import describe_machine
from benchmarks.peers.baskets import als_peer, buy_again_peer, item_knn_peer, popularity_peer, purchase_counts
from benchmarks.peers.sasrec import sasrec_peer
from benchmarks.recommendation.online_retail_cold import hold_products_out, run_cold
from benchmarks.recommendation.online_retail_protocol import (
    TOP,
    Customer,
    RetailData,
    Row,
    baskets_of,
    judge,
    load_retail,
)
from edge_runtime.contract.atomic_files import write_bytes_atomically
from edge_runtime.contract.bundle import CATALOGUE_FILES, MODEL_FILES, open_bundle
from edge_runtime.contract.errors import ConfigError, PocketrecError
from edge_runtime.recommender import Recommender

RESULT_FILE = Path(__file__).parents[1] / "results" / "online_retail.json"
COLD_RESULT_FILE = RESULT_FILE.with_name("online_retail_cold.json")
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
    parser.add_argument("--work", type=Path, default=Path("work/online_retail"), help="shop and bundle are kept here")
    parser.add_argument(
        "--out", type=Path, help=f"where the result file goes, by default {RESULT_FILE.name} in benchmarks/results"
    )
    return parser.parse_args(arguments)


def data_folder() -> Path:
    """Return the folder that POCKETREC_DATA names.

    Raises:
        ConfigError: it is unset or no folder.
    """
    value = os.environ.get("POCKETREC_DATA", "")
    if not value or not Path(value).is_dir():
        raise ConfigError(f"POCKETREC_DATA is {value!r}: set it to the folder that holds online_retail")
    return Path(value)


def build(shop: Path, bundle: Path, *, config: Path | None) -> None:
    """Run `pocketrec build`; it goes on where an earlier run was stopped.

    Raises:
        PocketrecError: the build failed; it has said why on stderr.
    """
    command = [sys.executable, "-m", "pocketrec", "build", str(shop), "--out", str(bundle), "--resume"]
    if config is not None:
        command += ["--config", str(config)]
    finished = subprocess.run(command, check=False, stdout=sys.stderr)
    if finished.returncode != 0:
        raise PocketrecError(f"`{' '.join(command[1:])}` ended with exit code {finished.returncode}; see above for why")


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
    peers = {
        "popularity": popularity_peer(counts),
        "buy again": buy_again_peer(counts),
        "item-kNN, BM25": item_knn_peer(counts, users),
        "ALS, 128 factors": als_peer(counts, users, seed=SEED),
        "SASRec": sasrec_peer(baskets, products, seed=SEED, progress=show("SASRec learns")),
    }
    return [judge(name, peer, data.customers, progress=show(name)) for name, peer in peers.items()]


def print_table(rows: Sequence[Row], console: Console) -> None:
    """Print the rows with intervals."""
    table = Table("", "recall@10", "nDCG@10", "new: recall@10", "new: nDCG@10", "MB")
    for row in rows:
        table.add_row(
            row.name,
            _with_interval(row.recall10, row.recall10_ci95),
            _with_interval(row.ndcg10, row.ndcg10_ci95),
            _with_interval(row.new_recall10, row.new_recall10_ci95),
            _with_interval(row.new_ndcg10, row.new_ndcg10_ci95),
            "-" if row.bytes is None else f"{row.bytes / 1e6:.2f}",
        )
    console.print(table)


def _with_interval(mean: float, interval: tuple[float, float]) -> str:
    return f"{mean:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


def write_result(path: Path, rows: Sequence[Row], bundle: Path | None) -> None:
    """Write machine, digest of the build's settings and rows."""
    content = {
        "machine": asdict(describe_machine(("numpy", "ai-edge-litert", "implicit", "tensorflow"))),
        "config_digest": open_bundle(bundle).manifest.config_digest if bundle else None,
        "rows": [asdict(row) for row in rows],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


def run(options: argparse.Namespace) -> None:
    """Run the benchmark and write its result file.

    Raises:
        PocketrecError: wrong options, missing data, or a build that failed.
    """
    messages = Console(stderr=True)
    options.work.mkdir(parents=True, exist_ok=True)
    data = load_retail(data_folder(), options.work)
    if options.cold_start is not None:
        run_cold_start(options, data, messages)
        return
    messages.print(f"{len(data.training.products):,} products, {len(data.customers):,} customers with a test basket")
    bundle: Path | None = None
    if not options.peers_only:
        bundle = options.bundle or options.work / "bundle"
        if options.bundle is None:
            build(options.work / "shop", bundle, config=options.config)
    with _shown(messages) as show:
        rows = [judge_bundle(bundle, data, show)] if bundle else []
        rows += judge_peers(data, show)
    write_result(options.out or RESULT_FILE, rows, bundle)
    print_table(rows, Console(width=160))


def run_cold_start(options: argparse.Namespace, data: RetailData, messages: Console) -> None:
    """Build a bundle of the shop whose held-out products have no purchases, and measure how it recommends these.

    Raises:
        ConfigError: a share that leaves nothing to measure.
        PocketrecError: a build that failed.
    """
    work = options.work / "cold"
    cold = hold_products_out(data, pq.read_table(options.work / "shop" / "products.parquet"), options.cold_start, work)
    messages.print(f"{len(cold.held_out):,} products lose their purchases, {len(cold.data.customers):,} customers")
    bundle = options.bundle or options.work / "cold-bundle"
    if options.bundle is None:
        build(work, bundle, config=options.config)
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
    try:
        run(options)
    except PocketrecError as error:
        print(f"benchmarks.recommendation.online_retail: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
