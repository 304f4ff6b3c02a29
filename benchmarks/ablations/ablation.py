"""What each part of a build contributes: `python -m benchmarks.ablations.ablation`; `POCKETREC_DATA` names the data.

Each part that is on is left out alone, each that is off is added alone. The float student is measured on queries held
out of the *training* queries of each fold, as typed and with one typing error; the fold's test queries are not among
them. A query that several folds hold out is averaged first; differences are paired over the distinct queries. Every
stage is kept and shared by all rows that need it, so a run that was stopped continues. docs/ablation.md has the
figures.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

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
from benchmarks.table_cells import difference_cell
from compress.measure.quality import ndcg_by_query
from edge_runtime.settings import load_toml
from pocketrec.cli.output import ConsoleReporter
from pocketrec.pipeline.build import BundleBuild
from pocketrec.pipeline.settings import BuildSettings
from pocketrec.pipeline.stages import Reporter, Stages
from pocketrec.pipeline.student_stages import EncoderStages
from train.data.reading import read_shop
from train.evaluation.intervals import mean_by_query, paired_columns
from train.text.typing_errors import with_typing_error
from train.text.wordnet import read_synsets, synonyms_of, write_synonyms

RESULT_FILE = RESULTS / "ablation.json"
WHOLE = "the build as it is"

_TAUGHT = {"steps": 120, "negatives": False, "distill": "none"}
"""A cross-encoder of whose answers nothing is used yet."""

WORDNET = "texts with a wordnet's synonyms"
"""Changes the shop, not the settings: its tables have no synonyms of their own."""

LEFT_OUT: Mapping[str, Mapping[str, Any]] = {
    "the catalogue's words in the teacher": {"teacher_source": "minilm"},
    "judgements in the projection": {"projection": {"steps": 0}},
    "whitening": {"projection": {"whitening": 0.0}},
    "texts with typing errors": {"texts": {"noise": 0.0}},
    "texts of pieces of titles": {"texts": {"title_pieces": 0.0}},
    "texts of brand and kind": {"texts": {"phrases": 0.0}},
    "texts in another order": {"texts": {"word_order": 0.0}},
    "product texts": {"distill": {"item_share": 0.0}},
    "the ranking's loss": {"distill": {"ranking_weight": 0.0}},
    "the vector's loss": {"distill": {"vector_weight": 0.0}},
}
"""What is left out -> the settings that leave it out."""

ADDED: Mapping[str, Mapping[str, Any]] = {
    "the cross-encoder's hard negatives": {"cross_encoder": {**_TAUGHT, "negatives": True}},
    "its scores in the projection, listwise KL": {"cross_encoder": {**_TAUGHT, "distill": "listwise-kl"}},
    "its scores in the projection, Margin-MSE": {"cross_encoder": {**_TAUGHT, "distill": "margin-mse"}},
    "its scores in the student, listwise KL": {
        "cross_encoder": {**_TAUGHT, "distill": "listwise-kl", "distill_into": "student"}
    },
    "its scores in the student, Margin-MSE": {
        "cross_encoder": {**_TAUGHT, "distill": "margin-mse", "distill_into": "student"}
    },
    "an adversary of the student's word table": {"distill": {"adversary": 0.5}},
    "pruning to a half": {"prune": {"sparsity": 0.5}},
    WORDNET: {},
}
"""What is added -> the settings that add it."""

PARTS: Mapping[str, Mapping[str, Any]] = {WHOLE: {}, **LEFT_OUT, **ADDED}

Values = npt.NDArray[np.float64]
Change = Literal["nothing", "left out", "added"]


@dataclass(frozen=True)
class Row:
    """One part left out or added: means over the distinct queries, and mean and 95% interval of the paired difference to `WHOLE`."""

    part: str
    change: Change
    queries: int
    rerank_ndcg10: float
    rerank_difference: tuple[float, float, float]
    retrieval_ndcg10: float
    retrieval_difference: tuple[float, float, float]
    typo_rerank_ndcg10: float
    typo_rerank_difference: tuple[float, float, float]


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablations.ablation", description=__doc__)
    parser.add_argument("--folds", default="0,1,2,3,4", help="whose training queries are used, like 0,1")
    parser.add_argument("--only", choices=list(PARTS)[1:], action="append", help="this part; may be repeated")
    parser.add_argument("--steps", type=int, help="of distillation, in all rows alike; those of --config otherwise")
    parser.add_argument("--config", type=Path, default=Path("configs/esci.toml"), help="settings of the build (TOML)")
    parser.add_argument("--work", type=Path, default=Path("work/esci"), help="shared with `make bench-esci`")
    parser.add_argument("--out", type=Path, default=RESULT_FILE, help="where the result file goes")
    return parser.parse_args(arguments)


def settings_with(settings: BuildSettings, part: str) -> BuildSettings:
    """Return `settings` with one of `PARTS` left out or added."""
    changes = {
        name: replace(getattr(settings, name), **change) if isinstance(change, Mapping) else change
        for name, change in PARTS[part].items()
    }
    return replace(settings, **changes)


def measure(
    data: EsciData, fold: int, part: str, options: argparse.Namespace, reporter: Reporter
) -> tuple[list[str], Values]:
    """Return the held-out queries, and float64 [queries, 3]: re-rank, retrieval and, mistyped, re-rank NDCG@10."""
    folder = options.work / "ablation" / f"fold-{fold}"
    teacher = shared_teacher(data, options.work / "shared", reporter=reporter)
    settings = load_toml(options.config, into=BuildSettings)
    settings = settings_with(replace(settings, teacher_source=str(teacher), holdout=HELD_OUT), part)
    if options.steps is not None:
        settings = replace(settings, distill=replace(settings.distill, steps=options.steps))
    shop = folder / ("shop-wordnet" if part == WORDNET else "shop")
    write_fold_shop(shop_without(data, fold), shop)
    if part == WORDNET:
        write_synonyms(shop, synonyms_of(read_shop(shop), read_synsets(data_folder() / "wordnet" / "synsets.parquet")))
    stages = Stages(folder / "stages", resume=True, reporter=reporter, by_key=True)
    build = BundleBuild(read_shop(shop), settings, stages, remembered=options.work / "vectors")
    inputs = build.inputs()
    encoder = EncoderStages(inputs, settings, stages)
    trained = encoder.distill()
    model = encoder.student.student((encoder.prune(trained) if settings.prune.prunes else trained).folder)
    random = np.random.default_rng(settings.seed)
    queries = list(inputs.held_out)
    found = [
        ndcg_by_query(inputs.held_out, encoder.student.encode(model, texts) @ inputs.vectors.items.T)
        for texts in (queries, [with_typing_error(query, random) for query in queries])
    ]
    return queries, np.column_stack([found[0], found[1][:, 0]])


def make_row(part: str, values: Values, whole: Values, queries: Sequence[str]) -> Row:
    """Return the row of a part; `whole` are the figures of everything on the same rows, `queries` the query of each row."""
    differences = paired_columns(values, whole, queries=queries)
    of_query = mean_by_query(values, queries)
    rerank, retrieval, typo = of_query.mean(axis=0).tolist()
    change: Change = "added" if part in ADDED else "nothing" if part == WHOLE else "left out"
    return Row(part, change, len(of_query), rerank, differences[0], retrieval, differences[1], typo, differences[2])


def print_table(rows: Sequence[Row], console: Console) -> None:
    """Print the rows."""
    table = Table("", "part", "re-rank nDCG@10", "retrieval nDCG@10", "re-rank nDCG@10, one typing error")
    for row in rows:
        cells = [
            difference_cell(mean, difference, reference=row.part == WHOLE)
            for mean, difference in (
                (row.rerank_ndcg10, row.rerank_difference),
                (row.retrieval_ndcg10, row.retrieval_difference),
                (row.typo_rerank_ndcg10, row.typo_rerank_difference),
            )
        ]
        table.add_row("" if row.part == WHOLE else row.change, row.part, *cells)
    console.print(table)
    console.print(
        f"{rows[0].queries} distinct held-out queries; after the colon the paired difference and its 95% interval"
    )


def run(options: argparse.Namespace) -> list[Row]:
    """Measure all parts, all folds.

    Raises:
        PocketrecError: wrong options, missing data, or a stage that failed.
    """
    data, folds = load_esci(data_folder()), chosen_folds(options.folds)
    rows: list[Row] = []
    whole: Values | None = None
    with ConsoleReporter(Console(stderr=True)) as reporter:
        for part in [WHOLE, *(options.only or list(PARTS)[1:])]:
            found = [measure(data, fold, part, options, reporter) for fold in folds]
            queries = [query for held_out, _ in found for query in held_out]
            values = np.concatenate([of_fold for _, of_fold in found])
            whole = values if whole is None else whole
            rows.append(make_row(part, values, whole, queries))
    return rows


def main() -> int:
    """Run; return the exit code."""
    options = parse_arguments()

    def measure_and_write() -> None:
        rows = run(options)
        content = {
            "folds": chosen_folds(options.folds),
            "distillation_steps": options.steps,
            "rows": [asdict(row) for row in rows],
        }
        write_result(options.out, ("numpy", "tensorflow"), content)
        print_table(rows, Console(width=160))

    return exit_code_of("benchmarks.ablations.ablation", measure_and_write)


if __name__ == "__main__":
    sys.exit(main())
