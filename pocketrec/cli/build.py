"""The command `pocketrec build`."""

import argparse
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from edge_runtime.cli.commands import JSON, Command, argument, group, path
from edge_runtime.contract.bundle import REPORT_FILE, REPORT_PAGE_FILE
from edge_runtime.contract.errors import ConfigError
from edge_runtime.settings import load_toml
from pocketrec.cli.output import ConsoleReporter, print_plainly, with_interval

if TYPE_CHECKING:
    from pocketrec.pipeline.settings import BuildSettings

_UNITS = {"": 1, "b": 1, "kb": 1_000, "mb": 1_000_000, "kib": 1_024, "mib": 1_048_576}
_SIZE = re.compile(r"\s*([0-9][0-9_]*(?:\.[0-9]+)?)\s*([a-z]*)\s*", re.IGNORECASE)
_LIMITS = ("max_bytes", "max_latency_ms", "min_retention")


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


def build_settings(args: argparse.Namespace) -> "BuildSettings":
    """Return the settings of the configuration file, with the flags over them.

    Raises:
        ConfigError: the file is missing or malformed.
    """
    from pocketrec.pipeline.settings import BuildSettings

    settings = load_toml(args.config, into=BuildSettings) if args.config else BuildSettings()
    flags = {"seed": args.seed, "teacher_source": args.teacher, "holdout": args.holdout}
    try:
        budget = replace(settings.budget, **_given({name: getattr(args, name) for name in _LIMITS}))
    except ValueError as error:
        raise ConfigError(f"the budget cannot be: {error}") from error
    settings = replace(settings, budget=budget, **_given(flags))
    if not 0.0 <= settings.holdout < 1.0:
        raise ConfigError(f"holdout is {settings.holdout}, expected a share from 0 to below 1")
    if not 0 <= settings.seed < 2**32:
        raise ConfigError(f"seed is {settings.seed}, expected a whole number from 0 to below 2^32")
    return settings


def _given(flags: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in flags.items() if value is not None}


def _build(args: argparse.Namespace) -> int:
    from pocketrec.pipeline.build import build_bundle
    from train.data.reading import read_shop

    settings = build_settings(args)
    shop = read_shop(args.shop)
    with ConsoleReporter(Console(stderr=True)) as reporter:
        bundle = build_bundle(
            shop,
            args.out,
            settings,
            work=args.work or args.out.with_name(f"{args.out.name}.build"),
            resume=args.resume,
            reporter=reporter,
            remembered=args.remember,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
    report = json.loads(bundle.path(REPORT_FILE).read_bytes())
    answer = {"bundle": str(args.out), "bundle_id": bundle.bundle_id, **report}
    print_plainly(json.dumps(answer, ensure_ascii=False) if args.json else "\n".join(_summary(args.out, report)))
    return 0


def _front_lines(budget: dict[str, Any]) -> list[str]:
    """Return the Pareto front as a table, smallest first, with a mark at the point that was built."""
    rows = [f"{'':5} {'bytes':>11} {'compressed':>11} {'p50 ms':>7} {'re-rank':>8} {'retrieval':>9}  retention"]
    for at in budget["front"]:
        point = budget["points"][at]
        rows.append(
            f"{'built' if at == budget['chosen'] else '':5} {point['bytes']:>11,} {point['compressed_bytes']:>11,} "
            f"{point['latency_ms']:>7.3f} {point['rerank_ndcg10']:>8.3f} {point['retrieval_ndcg10']:>9.3f}  "
            f"{with_interval(point['retention'], point['retention_ci95'])}  {point['name']}"
        )
    return ["Pareto front:", *rows]


def _summary(out: Path, report: dict[str, Any]) -> list[str]:
    quality = [
        f"{row['stage']:<24} re-rank nDCG@10 {row['rerank_ndcg10']:.3f}  "
        f"retrieval nDCG@10 {row['retrieval_ndcg10']:.3f}  on {row['queries']} held-out queries"
        for row in report["quality"]
    ]
    return [
        *(_front_lines(report["budget"]) if report.get("budget") else ()),
        *quality,
        f"the whole report, for a browser: {out / REPORT_PAGE_FILE}",
        f'{out}: {sum(report["bytes"].values()) / 1e6:.2f} MB; try: pocketrec search {out} "lamp"',
    ]


build = Command(
    _build,
    path("shop", "SHOP", "folder of the shop's tables"),
    path("--out", "BUNDLE", "folder of the bundle; replaced at the end", required=True),
    path("--config", "FILE", "settings as TOML (configs/ has examples)"),
    argument("--teacher", metavar="SOURCE", help='"minilm", a checkpoint or SavedModel folder, or a TF Hub handle'),
    argument("--holdout", type=float, metavar="SHARE", help="share of judged queries kept from training (0.15)"),
    argument("--seed", type=int, metavar="N", help="of every random choice (0)"),
    path("--work", "DIR", "folder of the stages (BUNDLE.build)"),
    path("--remember", "DIR", "keep the teacher's vectors of texts here, and take them from here"),
    argument("--resume", action="store_true", help="go on from what an earlier run finished"),
    group(
        "budget",
        argument(
            "--max-bytes", type=parse_bytes, metavar="SIZE", help="of model and tokenizer together, like 900kB or 1.5MB"
        ),
        argument("--max-latency-ms", type=float, metavar="MS", help="p50 of encoding a query here, one thread"),
        argument(
            "--min-retention",
            type=float,
            metavar="SHARE",
            help="of the teacher's ranking quality above chance; the smallest student that keeps it is built",
        ),
        about="with any of these, shape and recipe of the student are searched; exit 3 when nothing fits",
    ),
    JSON,
)
