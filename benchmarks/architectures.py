"""Student architectures side by side: `python -m benchmarks.architectures`, with `POCKETREC_DATA` naming the data.

All students learn under one budget from the same teacher's vectors of one ESCI fold's shop, and go through the same
stages as in a build. They are judged on queries held out of that fold's *training* queries; the fold's test queries are
in neither. docs/architectures.md has the figures.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.esci import data_folder
from benchmarks.esci_bundle import write_fold_shop
from benchmarks.esci_protocol import load_esci, shop_without
from benchmarks.esci_shared import shared_teacher
from benchmarks.machine import describe_machine
from compress.build import BundleBuild
from compress.build_command import ConsoleReporter
from compress.encoder_stages import EncoderInputs, EncoderStages, seeded_runner
from compress.quality import StageQuality, rank_quality
from compress.settings import BuildSettings
from edge_runtime.contract.atomic_files import write_bytes_atomically
from edge_runtime.contract.errors import PocketrecError
from edge_runtime.settings import load_toml
from train.shop.reading import read_shop
from train.stages import Reporter, Stages

RESULT_FILE = Path(__file__).parent / "results" / "architectures.json"
HELD_OUT = 0.3
"""Of the training queries: more than in a build, since here they are all that judges."""

CANDIDATES: Mapping[str, dict[str, Any]] = {
    "bag": {"architecture": "bag"},
    "bag, 4 means": {"architecture": "bag", "pooling_heads": 4},
    "mixer": {"architecture": "mixer"},
    "bert": {"architecture": "bert"},
}
"""Name -> changes to the student's settings."""


@dataclass(frozen=True)
class Row:
    """One .tflite: quality on the held-out queries, size, and time in LiteRT alone on one thread."""

    name: str
    rerank_ndcg10: float
    retrieval_ndcg10: float
    bytes: int | None
    operations_in_float: int | None
    run_p50_ms: float | None
    run_p99_ms: float | None


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.architectures", description=__doc__)
    parser.add_argument("--fold", type=int, default=0, help="whose training queries are used")
    parser.add_argument("--only", choices=list(CANDIDATES), action="append", help="this student; may be repeated")
    parser.add_argument("--config", type=Path, default=Path("configs/esci.toml"), help="settings of the build (TOML)")
    parser.add_argument("--work", type=Path, default=Path("work/esci"), help="shared with `make bench-esci`")
    parser.add_argument("--out", type=Path, default=RESULT_FILE, help="where the result file goes")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> list[Row]:
    """Train and judge all students; return their rows, the teacher's first.

    Raises:
        PocketrecError: missing data, or a stage that failed.
    """
    data = load_esci(data_folder())
    folder = options.work / f"architectures-{options.fold}"
    with ConsoleReporter(Console(stderr=True)) as reporter:
        teacher = shared_teacher(data, options.work / "shared", reporter=reporter)
        write_fold_shop(shop_without(data, options.fold), folder / "shop")
        settings = replace(load_toml(options.config, into=BuildSettings), teacher_source=str(teacher), holdout=HELD_OUT)
        stages = Stages(folder / "inputs", resume=True, reporter=reporter)
        build = BundleBuild(read_shop(folder / "shop"), settings, stages, remembered=options.work / "vectors")
        inputs = build.inputs()
        rows = [
            _row_of(rank_quality(name, inputs.held_out, queries @ items.T))
            for name, queries, items in (
                ("teacher", inputs.vectors.wide_held_out, inputs.vectors.wide_items),
                (f"teacher, {settings.dim} dimensions", inputs.vectors.held_out, inputs.vectors.items),
            )
        ]
        for name in options.only or CANDIDATES:
            rows += _judge(name, inputs, settings, folder / name.replace(", ", "-").replace(" ", "-"), reporter)
    return rows


def _judge(name: str, inputs: EncoderInputs, settings: BuildSettings, folder: Path, reporter: Reporter) -> list[Row]:
    changed = replace(settings, student=replace(settings.student, **CANDIDATES[name]))
    runner = seeded_runner(Stages(folder, resume=True, reporter=reporter), settings.seed)
    made = EncoderStages(inputs, changed, runner).build()
    rows = [_row_of(replace(one, stage=f"{name}, float")) for one in made.quality if one.stage == "student"]
    for variant in made.converted.report["variants"]:
        if variant["name"] != "int8-calibrated":
            quality = variant["quality"]
            rows.append(
                Row(
                    name=f"{name}, {variant['name']}",
                    rerank_ndcg10=quality["rerank_ndcg10"],
                    retrieval_ndcg10=quality["retrieval_ndcg10"],
                    bytes=variant["bytes"],
                    operations_in_float=sum(variant["in_float"].values()),
                    run_p50_ms=variant["encode_p50_ms"],
                    run_p99_ms=variant["encode_p99_ms"],
                )
            )
    return rows


def _row_of(quality: StageQuality | None) -> Row:
    if quality is None:
        raise PocketrecError("no query was held out, so nothing can be judged; choose another --fold")
    return Row(quality.stage, quality.rerank_ndcg10, quality.retrieval_ndcg10, None, None, None, None)


def print_table(rows: Sequence[Row], console: Console) -> None:
    """Print the rows."""
    table = Table("", "re-rank nDCG@10", "retrieval nDCG@10", "MB", "operations in float", "LiteRT p50 / p99 ms")
    for row in rows:
        table.add_row(
            row.name,
            f"{row.rerank_ndcg10:.3f}",
            f"{row.retrieval_ndcg10:.3f}",
            "-" if row.bytes is None else f"{row.bytes / 1e6:.2f}",
            "-" if row.operations_in_float is None else str(row.operations_in_float),
            "-" if row.run_p50_ms is None else f"{row.run_p50_ms:.3f} / {row.run_p99_ms:.3f}",
        )
    console.print(table)


def main() -> int:
    """Run; return the exit code."""
    options = parse_arguments()
    try:
        rows = run(options)
        content = {
            "machine": asdict(describe_machine(("numpy", "ai-edge-litert", "tensorflow"))),
            "fold": options.fold,
            "rows": [asdict(row) for row in rows],
        }
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_bytes_atomically(options.out, (json.dumps(content, indent=2) + "\n").encode())
    except PocketrecError as error:
        print(f"benchmarks.architectures: {error}", file=sys.stderr)
        return error.exit_code
    print_table(rows, Console(width=120))
    return 0


if __name__ == "__main__":
    sys.exit(main())
