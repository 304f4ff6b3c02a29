"""The ESCI search benchmark: `python -m benchmarks.search.esci`; `POCKETREC_DATA` names the folder of the data.

For each fold `pocketrec build` makes a bundle of a shop without the test queries; the bundle and all peers then rank
the same queries. A finished fold does not run again. docs/benchmarks.md has the protocol.
"""

import argparse
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks import command
from benchmarks.peers.esci import MINILM_INT8, Peers, prepare_peers
from benchmarks.peers.latency import Latency, measure_in_turns, texts_of_length
from benchmarks.result_file import RESULTS, write_result
from benchmarks.search.esci_bundle import MODES, FoldResult, build_fold, judge_bundle, write_fold_shop
from benchmarks.search.esci_choosing import choosing_queries
from benchmarks.search.esci_protocol import (
    EsciData,
    Figures,
    QueryFigures,
    load_esci,
    queries_of,
    random_floor,
    score_figures,
    shop_without,
    summarize,
)
from benchmarks.search.esci_shared import shared_teacher
from benchmarks.search.esci_shares import build_time, fold_shares, pooled_shares, print_shares, shares_as_json
from benchmarks.table_cells import interval_cell, latency_cell, megabytes_cell
from edge_runtime.contract.errors import ConfigError
from edge_runtime.recommender import Recommender
from pocketrec.cli.output import ConsoleReporter
from train.data.splits import FOLDS
from train.evaluation.intervals import estimate_difference

RESULT_FILE = RESULTS / "esci.json"
PACKAGES = ("numpy", "onnxruntime", "ai-edge-litert")
QUERY_TOKENS = 16

PerQuery = dict[str, QueryFigures]


@dataclass(frozen=True, kw_only=True)
class Row(Figures):
    """One line of the table.

    `bytes` is model and tokenizer; `…_vs_hybrid` is this ranker minus our hybrid one on the same queries: mean and 95%
    interval of the paired difference, None when ours did not run.
    """

    name: str
    bytes: int | None
    encode_p50_ms: float | None
    encode_p99_ms: float | None
    rerank_vs_hybrid: tuple[float, float, float] | None
    retrieval_vs_hybrid: tuple[float, float, float] | None


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options; `--folds` falls back to the environment variable FOLDS, then to all five."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search.esci", description=__doc__)
    parser.add_argument("--folds", default=os.environ.get("FOLDS") or "0,1,2,3,4", help="test folds, like 0,1")
    parser.add_argument("--peers-only", action="store_true", help="rank with the peers only, build nothing")
    parser.add_argument("--work", type=Path, default=Path("work/esci"), help="shops, bundles and peers are kept here")
    parser.add_argument("--config", type=Path, help="settings of the build (TOML)")
    parser.add_argument("--bundle", type=Path, help="rank every fold with this bundle instead of building")
    parser.add_argument("--out", type=Path, default=RESULT_FILE, help="where the result file goes")
    return parser.parse_args(arguments)


def chosen_folds(text: str) -> list[int]:
    """Return the folds that `--folds` names.

    Raises:
        ConfigError: something other than numbers below 5, separated by commas.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) < FOLDS for part in parts):
        raise ConfigError(f"--folds {text!r}: expected numbers from 0 to {FOLDS - 1} separated by commas, like 0,1")
    return sorted({int(part) for part in parts})


def data_folder() -> Path:
    """Return the folder of the data (benchmarks/command.py)."""
    return command.data_folder("esci_us, esci_pairs and wands_queries")


def rank_folds(data: EsciData, folds: Sequence[int], options: argparse.Namespace, console: Console) -> list[FoldResult]:
    """Build (or take) a bundle for each fold and judge it on the fold's queries."""
    results = []
    teacher = None
    if options.bundle is None:
        with ConsoleReporter(console) as reporter:
            teacher = shared_teacher(data, options.work / "shared", reporter=reporter)
    for fold in folds:
        folder = options.work / f"fold-{fold}"
        bundle = options.bundle
        if teacher is not None:
            bundle = folder / "bundle"
            console.print(f"fold {fold}: {len(queries_of(data, fold))} test queries, building {bundle}")
            write_fold_shop(shop_without(data, fold), folder / "shop")
            build_fold(
                folder / "shop", bundle, config=options.config, teacher=teacher, remembered=options.work / "vectors"
            )
        folder.mkdir(parents=True, exist_ok=True)
        results.append(judge_bundle(bundle, data, fold, queries_of(data, fold), kept=folder / "figures.json"))
    return results


def rank_peers(data: EsciData, queries: Sequence[str], peers: Peers, progress: Progress) -> dict[str, PerQuery]:
    """Return peer -> query -> figures, the random floor first."""
    task = progress.add_task("peers rank", total=len(queries))
    ranked: dict[str, PerQuery] = {"random": {}, **{peer.name: {} for peer in peers.rankers}}
    for query in queries:
        gains = data.judged[query]
        ranked["random"][query] = random_floor(gains, len(data.products))
        for peer in peers.rankers:
            ranked[peer.name][query] = score_figures(gains, peer.score_all(query))
        progress.advance(task)
    return ranked


def make_row(
    name: str,
    per_query: PerQuery,
    hybrid: PerQuery | None,
    *,
    size_bytes: int | None = None,
    latency: Latency | None = None,
) -> Row:
    """Return one line of the table; `hybrid` are our figures of the same queries."""
    return Row(
        **vars(summarize(per_query.values())),
        name=name,
        bytes=size_bytes,
        encode_p50_ms=latency.p50_ms if latency else None,
        encode_p99_ms=latency.p99_ms if latency else None,
        rerank_vs_hybrid=_difference(per_query, hybrid, "rerank_ndcg10"),
        retrieval_vs_hybrid=_difference(per_query, hybrid, "retrieval_ndcg10"),
    )


def _difference(per_query: PerQuery, hybrid: PerQuery | None, figure: str) -> tuple[float, float, float] | None:
    if hybrid is None or hybrid is per_query:
        return None
    difference = estimate_difference(
        [getattr(per_query[query], figure) for query in hybrid], [getattr(one, figure) for one in hybrid.values()]
    )
    return (difference.mean, *difference.ci95)


def measure_latency(data: EsciData, peers: Peers, bundle: Path | None) -> dict[str, Latency]:
    """Return the latency of encoding queries of 16 MiniLM tokens, one thread each, in turns."""
    texts = texts_of_length(list(data.judged), QUERY_TOKENS, peers.minilm.count_tokens)
    if bundle is None:
        return measure_in_turns(peers.encoders, texts)
    with Recommender.open(bundle, num_threads=1) as recommender:
        return measure_in_turns({"pocketrec": _OurEncoder(recommender), **peers.encoders}, texts)


class _OurEncoder:
    def __init__(self, recommender: Recommender) -> None:
        self._recommender = recommender

    def encode(self, text: str) -> npt.NDArray[np.float32]:
        return self._recommender.encode_query(text)


def all_rows(
    ours: Sequence[FoldResult],
    ranked: Mapping[str, PerQuery],
    peers: Peers,
    latencies: Mapping[str, Latency],
    *,
    without: Collection[str] = (),
) -> list[Row]:
    """Return the lines of the table, random, ours, peers, over the queries that are not in `without`; none without any."""

    def kept(per_query: PerQuery) -> PerQuery:
        return {query: one for query, one in per_query.items() if query not in without}

    if not kept(ranked["random"]):
        return []
    merged = {mode: kept({query: one for fold in ours for query, one in fold.figures[mode].items()}) for mode in MODES}
    hybrid = merged["hybrid"] or None
    rows = [make_row("random", kept(ranked["random"]), hybrid)]
    if ours:
        size, latency = max(fold.model_bytes for fold in ours), latencies.get("pocketrec")
        rows += [
            make_row(f"pocketrec int8 {mode}", merged[mode], hybrid, size_bytes=size, latency=latency) for mode in MODES
        ]
    sizes = {peer.name: peer.size_bytes for peer in peers.rankers}
    rows += [
        make_row(name, kept(per_query), hybrid, size_bytes=sizes[name], latency=latencies.get(name))
        for name, per_query in ranked.items()
        if name != "random"
    ]
    return rows


def print_table(title: str, rows: Sequence[Row], console: Console) -> None:
    """Print the rows with intervals; nothing when there is none."""
    if not rows:
        return
    header = f"{rows[0].queries} queries{title}"
    table = Table(header, "re-rank nDCG@10", "retrieval nDCG@10", "recall@100", "MB", "encode p50 / p99 ms")
    for row in rows:
        table.add_row(
            row.name,
            interval_cell(row.rerank_ndcg10, row.rerank_ci95),
            interval_cell(row.retrieval_ndcg10, row.retrieval_ci95),
            interval_cell(row.recall100, row.recall100_ci95),
            megabytes_cell(row.bytes),
            latency_cell(row.encode_p50_ms, row.encode_p99_ms),
        )
    console.print(table)


def print_stages(builds: Sequence[FoldResult], console: Console) -> None:
    """Print the quality of the stages that the builds reported, averaged over all their held-out queries."""
    by_stage: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for build in builds:
        for stage in build.stages:
            by_stage[stage["stage"]].append(stage)
    if not by_stage:
        return
    table = Table("stage of the build", "queries held out", "re-rank nDCG@10", "retrieval nDCG@10")
    for name, stages in by_stage.items():
        queries = [stage["queries"] for stage in stages]
        means = [
            float(np.average([stage[figure] for stage in stages], weights=queries))
            for figure in ("rerank_ndcg10", "retrieval_ndcg10")
        ]
        table.add_row(name, str(sum(queries)), *(f"{mean:.3f}" for mean in means))
    console.print(table)


def run(options: argparse.Namespace) -> None:
    """Run the benchmark and write its result file.

    Raises:
        PocketrecError: wrong options, missing data, or a build that failed.
    """
    folds = chosen_folds(options.folds)
    data = load_esci(data_folder())
    queries = [query for fold in folds for query in queries_of(data, fold)]
    messages = Console(stderr=True)
    options.work.mkdir(parents=True, exist_ok=True)
    ours = [] if options.peers_only else rank_folds(data, folds, options, messages)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=messages) as progress:
        peers = prepare_peers(data.peer_texts, options.work, progress=_shown(progress))
        ranked = rank_peers(data, queries, peers, progress)
    bundle = None if not ours else options.bundle or options.work / f"fold-{folds[0]}" / "bundle"
    latencies = measure_latency(data, peers, bundle)
    rows = all_rows(ours, ranked, peers, latencies)
    untouched = all_rows(ours, ranked, peers, latencies, without=choosing_queries(data))
    parts = {
        one.fold: fold_shares(
            options.work / f"fold-{one.fold}",
            options.bundle or options.work / f"fold-{one.fold}" / "bundle",
            data,
            one.fold,
        )
        for one in ours
    }
    shares = pooled_shares(ours, parts, ranked["random"]) if ours else []
    time = build_time(options.work / "shared", parts)
    found = result_content(rows, untouched, folds, ours, latencies)
    write_result(options.out, PACKAGES, {**found, **shares_as_json(shares, time)})
    results = Console(width=160)
    print_table("", rows, results)
    print_table(" that chose no setting", untouched, results)
    print_stages(ours, results)
    print_shares(shares, time, results)


def result_content(
    rows: Sequence[Row],
    untouched: Sequence[Row],
    folds: Sequence[int],
    ours: Sequence[FoldResult],
    latencies: Mapping[str, Latency],
) -> dict[str, Any]:
    """Return what the result file says of settings, rows (of all queries, of those that chose nothing) and builds."""
    mine, peer = latencies.get("pocketrec"), latencies[MINILM_INT8]
    digests = sorted({fold.config_digest for fold in ours})
    return {
        "config_digest": ", ".join(digests) or None,
        "folds": list(folds),
        "queries": sum(len(fold.figures["hybrid"]) for fold in ours) or None,
        "rows": [asdict(row) for row in rows],
        "rows_of_queries_that_chose_nothing": [asdict(row) for row in untouched],
        "encode_speed_up_p50": peer.p50_ms / mine.p50_ms if mine else None,
        "encode_speed_up_p99": peer.p99_ms / mine.p99_ms if mine else None,
        "builds": [
            {key: value for key, value in asdict(fold).items() if key not in ("figures", "config_digest")}
            for fold in ours
        ],
    }


def _shown(progress: Progress) -> Callable[[str, int, int], None]:
    tasks: dict[str, TaskID] = {}

    def show(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = progress.add_task(what, total=total)
        progress.update(tasks[what], completed=done)

    return show


def main() -> int:
    """Run; return the exit code."""
    options = parse_arguments()
    return command.exit_code_of("benchmarks.search.esci", lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
