"""Compares student architectures: `python -m benchmarks.ablations.architectures`; `POCKETREC_DATA` names the data.

All students train under one budget on the same teacher's vectors of an ESCI fold's shop, and go through the same
stages as in a build. They are measured on queries held out of that fold's *training* queries; the fold's test queries
are not among them. A query that several folds hold out is averaged
first; differences are paired over the distinct queries. docs/architectures.md has the figures.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from benchmarks.command import exit_code_of
from benchmarks.result_file import RESULTS, write_result
from benchmarks.search.esci import chosen_folds, data_folder
from benchmarks.search.esci_bundle import write_fold_shop
from benchmarks.search.esci_choosing import HELD_OUT
from benchmarks.search.esci_protocol import EsciData, load_esci, shop_without
from benchmarks.search.esci_shared import shared_teacher
from benchmarks.table_cells import difference_cell, latency_cell, megabytes_cell
from compress.measure.quality import ndcg_by_query
from compress.variants import encode_all
from edge_runtime.contract.bundle import ENCODER_FILE
from edge_runtime.contract.errors import PocketrecError
from edge_runtime.settings import load_toml
from pocketrec.cli.output import ConsoleReporter
from pocketrec.pipeline.build import BundleBuild
from pocketrec.pipeline.settings import BuildSettings
from pocketrec.pipeline.stages import Reporter, Stages
from pocketrec.pipeline.student_stages import EncoderInputs, EncoderStages
from train.data.reading import read_shop
from train.evaluation.intervals import mean_by_query, paired_columns

RESULT_FILE = RESULTS / "architectures.json"

CANDIDATES: Mapping[str, dict[str, Any]] = {
    "bag": {"architecture": "bag"},
    "bag, 4 means": {"architecture": "bag", "pooling_heads": 4},
    "mixer": {"architecture": "mixer"},
    "bert": {"architecture": "bert"},
}
"""Name -> changes to the student's settings."""


SHIPPED = "bag, int8"
"""What the others are compared with."""

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Judged:
    """One ranker on one fold: its queries and float64 [queries, 2], re-rank and retrieval NDCG@10; the rest of a .tflite only."""

    queries: Sequence[str]
    values: Values
    bytes: int | None = None
    operations_in_float: int | None = None
    run_p50_ms: float | None = None
    run_p99_ms: float | None = None


@dataclass(frozen=True)
class Row:
    """One ranker over all folds: means, and mean and 95% interval of the paired difference to `SHIPPED`.

    Bytes, operations and the time in LiteRT alone, on one thread, are those of the last fold.
    """

    name: str
    queries: int
    rerank_ndcg10: float
    rerank_difference: tuple[float, float, float]
    retrieval_ndcg10: float
    retrieval_difference: tuple[float, float, float]
    bytes: int | None
    operations_in_float: int | None
    run_p50_ms: float | None
    run_p99_ms: float | None


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablations.architectures", description=__doc__)
    parser.add_argument("--folds", default="0,1,2", help="whose training queries are used, like 0,1")
    parser.add_argument("--only", choices=list(CANDIDATES)[1:], action="append", help="this student; may be repeated")
    parser.add_argument("--config", type=Path, default=Path("configs/esci.toml"), help="settings of the build (TOML)")
    parser.add_argument("--work", type=Path, default=Path("work/esci"), help="shared with `make bench-esci`")
    parser.add_argument("--out", type=Path, default=RESULT_FILE, help="where the result file goes")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> list[Row]:
    """Train and judge all students on all folds; return their rows, the teacher's first.

    Raises:
        PocketrecError: wrong options, missing data, or a stage that failed.
    """
    data = load_esci(data_folder())
    with ConsoleReporter(Console(stderr=True)) as reporter:
        folds = [judge_fold(data, fold, options, reporter) for fold in chosen_folds(options.folds)]
    shipped = np.concatenate([fold[SHIPPED].values for fold in folds])
    return [make_row(name, [fold[name] for fold in folds], shipped) for name in folds[0]]


def judge_fold(data: EsciData, fold: int, options: argparse.Namespace, reporter: Reporter) -> dict[str, Judged]:
    """Return the teacher and all students of one fold, by name."""
    folder = options.work / f"architectures-{fold}"
    teacher = shared_teacher(data, options.work / "shared", reporter=reporter)
    write_fold_shop(shop_without(data, fold), folder / "shop")
    settings = replace(load_toml(options.config, into=BuildSettings), teacher_source=str(teacher), holdout=HELD_OUT)
    stages = Stages(folder / "inputs", resume=True, reporter=reporter)
    inputs = BundleBuild(read_shop(folder / "shop"), settings, stages, remembered=options.work / "vectors").inputs()
    vectors = inputs.vectors
    judged = {
        "teacher": Judged(
            list(inputs.held_out), ndcg_by_query(inputs.held_out, vectors.wide_held_out @ vectors.wide_items.T)
        ),
        f"teacher, {settings.dim} dimensions": Judged(
            list(inputs.held_out), ndcg_by_query(inputs.held_out, vectors.held_out @ vectors.items.T)
        ),
    }
    for name in dict.fromkeys(["bag", *(options.only or CANDIDATES)]):
        changed = replace(settings, student=replace(settings.student, **CANDIDATES[name]))
        stages = Stages(folder / name.replace(", ", "-").replace(" ", "-"), resume=True, reporter=reporter)
        encoder = EncoderStages(inputs, changed, stages)
        judged |= {f"{name}, {variant}": found for variant, found in _judge(inputs, encoder).items()}
    return judged


def _judge(inputs: EncoderInputs, encoder: EncoderStages) -> dict[str, Judged]:
    """Return the float student and its .tflite files, by variant."""
    made, queries = encoder.build(), list(inputs.held_out)
    distilled = encoder.student.student(made.results["student"].folder)
    judged = {
        "float": Judged(
            queries, ndcg_by_query(inputs.held_out, encoder.student.encode(distilled, queries) @ inputs.vectors.items.T)
        )
    }
    items, ids = inputs.item_vectors, encoder.student.query_ids(queries)
    for variant in made.results["convert"].report["variants"]:
        if variant["name"] != "int8-calibrated":
            vectors = encode_all(made.results["convert"].folder / variant["name"] / ENCODER_FILE, ids).vectors
            judged[variant["name"]] = Judged(
                queries,
                ndcg_by_query(inputs.held_out, vectors @ items.T),
                variant["bytes"],
                sum(variant["in_float"].values()),
                variant["encode_p50_ms"],
                variant["encode_p99_ms"],
            )
    return judged


def make_row(name: str, folds: Sequence[Judged], shipped: Values) -> Row:
    """Return the row of one ranker; `shipped` are the figures of `SHIPPED` on the same rows.

    Raises:
        PocketrecError: no query was held out.
    """
    values = np.concatenate([fold.values for fold in folds])
    if not len(values):
        raise PocketrecError("no query was held out, so nothing can be judged; choose other --folds")
    queries = [query for fold in folds for query in fold.queries]
    differences = paired_columns(values, shipped, queries=queries)
    of_query = mean_by_query(values, queries)
    rerank, retrieval = of_query.mean(axis=0).tolist()
    size = folds[-1]
    return Row(
        name,
        len(of_query),
        rerank,
        differences[0],
        retrieval,
        differences[1],
        size.bytes,
        size.operations_in_float,
        size.run_p50_ms,
        size.run_p99_ms,
    )


def print_table(rows: Sequence[Row], console: Console) -> None:
    """Print the rows."""
    table = Table("", "re-rank nDCG@10", "retrieval nDCG@10", "MB", "operations in float", "LiteRT p50 / p99 ms")
    for row in rows:
        cells = [
            difference_cell(mean, difference, reference=row.name == SHIPPED)
            for mean, difference in (
                (row.rerank_ndcg10, row.rerank_difference),
                (row.retrieval_ndcg10, row.retrieval_difference),
            )
        ]
        table.add_row(
            row.name,
            *cells,
            megabytes_cell(row.bytes),
            "-" if row.operations_in_float is None else str(row.operations_in_float),
            latency_cell(row.run_p50_ms, row.run_p99_ms),
        )
    console.print(table)
    console.print(
        f"{rows[0].queries} distinct held-out queries; after the colon the paired difference to {SHIPPED} and its 95% interval"
    )


def main() -> int:
    """Run; return the exit code."""
    options = parse_arguments()

    def measure_and_write() -> None:
        rows = run(options)
        content = {"folds": chosen_folds(options.folds), "rows": [asdict(row) for row in rows]}
        write_result(options.out, ("numpy", "ai-edge-litert", "tensorflow"), content)
        print_table(rows, Console(width=160))

    return exit_code_of("benchmarks.ablations.architectures", measure_and_write)


if __name__ == "__main__":
    sys.exit(main())
