"""Runs `pocketrec build`; apart from the file with its arguments, because it loads TensorFlow and `--help` must not."""

import argparse
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from edge_runtime.contract.bundle import REPORT_FILE, REPORT_PAGE_FILE
from edge_runtime.contract.errors import ConfigError
from edge_runtime.settings import load_toml
from pocketrec.pipeline.build import build_bundle
from pocketrec.pipeline.settings import BuildSettings
from train.data.reading import read_shop


class ConsoleReporter:
    """A bar for the running stage, a line for each finished one, both on stderr."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description:<14}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> "ConsoleReporter":
        return self

    def __exit__(self, *_: object) -> None:
        # Bars that were never shown would leave an empty line above an error.
        if self._bars.live.is_started:
            self._bars.stop()

    def started(self, stage: str) -> None:
        """Show a bar for `stage`."""
        self._bars.start()
        self._task = self._bars.add_task(stage, total=None)

    def progress(self, stage: str, done: int, total: int) -> None:
        """Move the stage's bar."""
        if self._task is not None:
            self._bars.update(self._task, completed=done, total=total)

    def finished(self, stage: str, line: str, *, seconds: float, reused: bool) -> None:
        """Replace the bar by one line of result."""
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None
        when = "kept" if reused else f"{seconds:.0f} s"
        self._console.print(
            f"{stage:<14} {when:>6}  {line}", markup=False, highlight=False, emoji=False, soft_wrap=True
        )


def build_settings(args: argparse.Namespace) -> BuildSettings:
    """Return the settings of the configuration file, with the flags over them.

    Raises:
        ConfigError: the file is missing or malformed.
    """
    settings = load_toml(args.config, into=BuildSettings) if args.config else BuildSettings()
    if args.seed is not None:
        settings = replace(settings, seed=args.seed)
    if args.teacher is not None:
        settings = replace(settings, teacher_source=args.teacher)
    if args.holdout is not None:
        settings = replace(settings, holdout=args.holdout)
    limits = {name: getattr(args, name) for name in ("max_bytes", "max_latency_ms", "min_retention")}
    try:
        budget = replace(settings.budget, **{name: limit for name, limit in limits.items() if limit is not None})
    except ValueError as error:
        raise ConfigError(f"the budget cannot be: {error}") from error
    settings = replace(settings, budget=budget)
    if not 0.0 <= settings.holdout < 1.0:
        raise ConfigError(f"holdout is {settings.holdout}, expected a share from 0 to below 1")
    if not 0 <= settings.seed < 2**32:
        raise ConfigError(f"seed is {settings.seed}, expected a whole number from 0 to below 2^32")
    return settings


def run(args: argparse.Namespace) -> int:
    """Build; return the exit code."""
    console = Console(stderr=True)
    settings = build_settings(args)
    shop = read_shop(args.shop)
    out: Path = args.out
    work: Path = args.work or out.with_name(f"{out.name}.build")
    with ConsoleReporter(console) as reporter:
        bundle = build_bundle(
            shop,
            out,
            settings,
            work=work,
            resume=args.resume,
            reporter=reporter,
            remembered=args.remember,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
    report = json.loads(bundle.path(REPORT_FILE).read_bytes())
    answer = {"bundle": str(out), "bundle_id": bundle.bundle_id, **report}
    lines = [json.dumps(answer, ensure_ascii=False)] if args.json else _summary(out, report)
    for line in lines:
        Console().print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)
    return 0


def _front_lines(budget: dict[str, Any]) -> list[str]:
    """Return the Pareto front as a table, smallest first, with a mark at the point that was built."""
    rows = [f"{'':5} {'bytes':>11} {'compressed':>11} {'p50 ms':>7} {'re-rank':>8} {'retrieval':>9}  retention"]
    for at in budget["front"]:
        point = budget["points"][at]
        low, high = point["retention_ci95"]
        rows.append(
            f"{'built' if at == budget['chosen'] else '':5} {point['bytes']:>11,} {point['compressed_bytes']:>11,} "
            f"{point['latency_ms']:>7.3f} {point['rerank_ndcg10']:>8.3f} {point['retrieval_ndcg10']:>9.3f}  "
            f"{point['retention']:.3f} ({low:.3f} … {high:.3f})  {point['name']}"
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
