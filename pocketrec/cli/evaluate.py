"""What measures a bundle: the commands `pocketrec evaluate` and `pocketrec bench`."""

import argparse
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from edge_runtime.cli.commands import JSON, Command, argument, path
from pocketrec.cli.output import progress_bars, with_interval

if TYPE_CHECKING:
    from compress.measure.bench import BenchResult
    from compress.measure.evaluate import Evaluation, RecommendationQuality


def _evaluate(args: argparse.Namespace) -> int:
    from compress.measure.evaluate import evaluate_bundle
    from train.data.reading import read_shop

    shop = read_shop(args.shop)
    with progress_bars() as progress:
        result = evaluate_bundle(args.bundle, shop, progress=progress)
    if args.json:
        print(json.dumps(asdict(result), ensure_ascii=False))
    else:
        _show_evaluation(result, Console())
    return 0


def _show_evaluation(result: "Evaluation", console: Console) -> None:
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
                with_interval(row.rerank_ndcg10, row.rerank_ci95),
                with_interval(row.retrieval_ndcg10, row.retrieval_ci95),
                recall,
            )
        console.print(table)
    table = Table("next basket", "users", "recall@10", "nDCG@10")
    for name, baskets in (("whole basket", result.whole_basket), ("new products", result.new_products)):
        if baskets is not None:
            table.add_row(name, *_basket_cells(baskets))
    if table.row_count:
        console.print(table)


def _basket_cells(row: "RecommendationQuality") -> tuple[str, str, str]:
    return str(row.users), with_interval(row.recall10, row.recall10_ci95), with_interval(row.ndcg10, row.ndcg10_ci95)


def _bench(args: argparse.Namespace) -> int:
    from compress.measure.bench import bench_bundle

    with progress_bars() as progress:
        result = bench_bundle(args.bundle, num_threads=args.threads, runs=args.runs, progress=progress)
    if args.json:
        print(json.dumps(asdict(result), ensure_ascii=False))
    else:
        _show_bench(result, Console())
    return 0


def _show_bench(result: "BenchResult", console: Console) -> None:
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


_BUNDLE = path("bundle", "BUNDLE", "folder of the bundle")

evaluate = Command(
    _evaluate,
    _BUNDLE,
    path("--shop", "SHOP", "folder with judgements or purchases", required=True),
    JSON,
)

bench = Command(
    _bench,
    _BUNDLE,
    argument("--runs", type=int, default=500, metavar="N", help="measured calls of each operation (500)"),
    argument("--threads", type=int, default=1, metavar="N", help="threads of one model call (1)"),
    JSON,
)
