"""The commands `pocketrec build`, `evaluate` and `bench`."""

import argparse
import json
import re
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from compress.measure.bench import BenchResult, bench_bundle
from compress.measure.evaluate import Evaluation, RecommendationQuality, evaluate_bundle
from train.data.reading import read_shop

_UNITS = {"": 1, "b": 1, "kb": 1_000, "mb": 1_000_000, "kib": 1_024, "mib": 1_048_576}
_SIZE = re.compile(r"\s*([0-9][0-9_]*(?:\.[0-9]+)?)\s*([a-z]*)\s*", re.IGNORECASE)


def add_build_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `pocketrec build`."""
    parser.add_argument("shop", type=Path, metavar="SHOP", help="folder of the shop's tables")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="BUNDLE", help="folder of the bundle; replaced at the end"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings as TOML (configs/ has examples)")
    parser.add_argument(
        "--teacher", metavar="SOURCE", help='"minilm", a checkpoint or SavedModel folder, or a TF Hub handle'
    )
    parser.add_argument(
        "--holdout", type=float, metavar="SHARE", help="share of judged queries kept from training (0.15)"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="of every random choice (0)")
    parser.add_argument("--work", type=Path, metavar="DIR", help="folder of the stages (BUNDLE.build)")
    parser.add_argument(
        "--remember", type=Path, metavar="DIR", help="keep the teacher's vectors of texts here, and take them from here"
    )
    parser.add_argument("--resume", action="store_true", help="go on from what an earlier run finished")
    budget = parser.add_argument_group(
        "budget", "with any of these, shape and recipe of the student are searched; exit 3 when nothing fits"
    )
    budget.add_argument(
        "--max-bytes", type=parse_bytes, metavar="SIZE", help="of model and tokenizer together, like 900kB or 1.5MB"
    )
    budget.add_argument("--max-latency-ms", type=float, metavar="MS", help="p50 of encoding a query here, one thread")
    budget.add_argument(
        "--min-retention",
        type=float,
        metavar="SHARE",
        help="of the teacher's ranking quality above chance; the smallest student that keeps it is built",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def parse_bytes(text: str) -> int:
    """Return the bytes that "1500000", "1.5MB", "900 kB" or "1MiB" name.

    Raises:
        ArgumentTypeError: another unit, or no number.
    """
    match = _SIZE.fullmatch(text)
    unit = _UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no size; expected a number of bytes, or one with kB, MB, KiB or MiB"
        )
    return round(float(match[1].replace("_", "")) * unit)


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `pocketrec evaluate`."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("--shop", type=Path, required=True, metavar="SHOP", help="folder with judgements or purchases")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def evaluate(args: argparse.Namespace) -> int:
    """Run `pocketrec evaluate`."""
    shop = read_shop(args.shop)
    with Progress(console=Console(stderr=True), transient=True) as bars:
        tasks = {what: bars.add_task(what, total=None) for what in ("queries", "users")}
        result = evaluate_bundle(
            args.bundle, shop, progress=lambda what, done, total: bars.update(tasks[what], completed=done, total=total)
        )
    if args.json:
        print(json.dumps(asdict(result), ensure_ascii=False))
    else:
        _show_evaluation(result, Console())
    return 0


def add_bench_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `pocketrec bench`."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("--runs", type=int, default=500, metavar="N", help="measured calls of each operation (500)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads of one model call (1)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def bench(args: argparse.Namespace) -> int:
    """Run `pocketrec bench`."""
    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("measuring", total=None)
        result = bench_bundle(
            args.bundle,
            num_threads=args.threads,
            runs=args.runs,
            progress=lambda what, done, total: bars.update(task, description=what, completed=done, total=total),
        )
    if args.json:
        print(json.dumps(asdict(result), ensure_ascii=False))
    else:
        _show_bench(result, Console())
    return 0


def _show_evaluation(result: Evaluation, console: Console) -> None:
    if result.caution:
        print(result.caution, file=sys.stderr)
    if result.unknown_products:
        print(
            f"{result.unknown_products} products of the shop are not in the bundle and were left out", file=sys.stderr
        )
    if result.ranking:
        table = Table("search", "queries", "re-rank nDCG@10", "retrieval nDCG@10", "recall@100")
        for row in result.ranking:
            recall = "–" if row.recall100 is None else f"{row.recall100:.3f}"
            table.add_row(
                row.mode,
                str(row.queries),
                _with_interval(row.rerank_ndcg10, row.rerank_ci95),
                _with_interval(row.retrieval_ndcg10, row.retrieval_ci95),
                recall,
            )
        console.print(table)
    table = Table("next basket", "users", "recall@10", "nDCG@10")
    for name, baskets in (("whole basket", result.whole_basket), ("new products", result.new_products)):
        if baskets is not None:
            table.add_row(name, *_basket_cells(baskets))
    if table.row_count:
        console.print(table)


def _basket_cells(row: RecommendationQuality) -> tuple[str, str, str]:
    return str(row.users), _with_interval(row.recall10, row.recall10_ci95), _with_interval(row.ndcg10, row.ndcg10_ci95)


def _with_interval(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.3f} ({interval[0]:.3f} … {interval[1]:.3f})"


def _show_bench(result: BenchResult, console: Console) -> None:
    table = Table(
        "operation", "p50 ms", "p99 ms", "runs", title=f"{result.products:,} products, {result.num_threads} thread(s)"
    )
    for row in result.timings:
        table.add_row(row.name, f"{row.p50_ms:.3f}", f"{row.p99_ms:.3f}", str(row.runs))
    console.print(table)
    sizes = Table("file", "bytes")
    for name, size in result.file_bytes.items():
        sizes.add_row(name, f"{size:,}")
    sizes.add_row("all", f"{result.total_bytes:,}")
    console.print(sizes)
    start = result.cold_start
    added = start.memory_bytes - start.memory_idle_bytes
    console.print(
        f"a fresh process with {start.interpreter}: {start.process_ms:.0f} ms to the first answer (runtime "
        f"{start.import_ms:.0f} ms, bundle {start.open_ms:.0f} ms, search {start.first_answer_ms:.0f} ms), "
        f"{added / 1e6:.0f} MB above an idle interpreter, {start.memory_private_bytes / 1e6:.0f} MB of it its own; "
        f"recall@10 of the catalogue's candidates {result.recall10:.4f}",
        highlight=False,
        soft_wrap=True,
    )


COMMANDS = {
    "build": (add_build_arguments, "pocketrec.cli.build:run"),
    "evaluate": (add_evaluate_arguments, evaluate),
    "bench": (add_bench_arguments, bench),
}
