"""The demo's result as tables for people."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pocketrec.pipeline.demo import DemoReport

_MEGABYTE = 1e6
_WORDS = {"encode query": "query to vector", "search hybrid": "search", "recommend": "recommend"}


def show_demo(report: DemoReport, console: Console) -> None:
    """Print what the demo showed: quality by stage, size and latency, the device's answers, updates, time by step."""
    for table in (
        _quality(report),
        _device(report.bench),
        _answers(report),
        _updates(report),
        _seconds(report.seconds),
    ):
        console.print(table)
    console.print(f"{report.events_stored} feedback events reached the server. Everything lies in {report.folder}")


def _quality(report: DemoReport) -> Table:
    queries = max((row["queries"] for row in report.quality), default=0)
    table = Table(title=f"NDCG@10 on {queries} held-out queries, 95% interval", title_justify="left")
    for name in ("stage", "re-rank", "", "retrieval", ""):
        table.add_column(name, justify="left" if name == "stage" else "right", no_wrap=True)
    for row in report.quality:
        cells = [text for figure in ("rerank", "retrieval") for text in _with_interval(row, figure)]
        table.add_row(row["stage"], *cells)
    return table


def _with_interval(row: Mapping[str, Any], figure: str) -> tuple[str, str]:
    low, high = row[f"{figure}_ci95"]
    return f"{row[f'{figure}_ndcg10']:.3f}", f"{low:.2f}–{high:.2f}"


def _device(bench: Mapping[str, Any]) -> Table:
    table = Table(title=f"On this machine, {bench['num_threads']} thread", title_justify="left")
    table.add_column("")
    table.add_column("p50", justify="right")
    table.add_column("p99", justify="right")
    for timing in bench["timings"]:
        if timing["name"] in _WORDS:
            table.add_row(_WORDS[timing["name"]], f"{timing['p50_ms']:.2f} ms", f"{timing['p99_ms']:.2f} ms")
    table.add_section()
    table.add_row("model (encoder, tokenizer)", f"{bench['model_bytes'] / _MEGABYTE:.2f} MB", "")
    table.add_row(f"bundle of {bench['products']:,} products", f"{bench['total_bytes'] / _MEGABYTE:.2f} MB", "")
    cold = bench["cold_start"]
    table.add_row("fresh process: open, first answer", f"{cold['open_ms'] + cold['first_answer_ms']:.0f} ms", "")
    return table


def _answers(report: DemoReport) -> Table:
    table = Table(title="What the device answered: the best three", title_justify="left")
    table.show_header = False
    table.add_column(no_wrap=True, overflow="ellipsis")
    for answer in report.answers:
        table.add_row(escape(f"{answer.asked}: {answer.shows}, {answer.latency_ms:.1f} ms"), style="bold")
        table.add_row(escape("\n".join(f"  {title}" for title in answer.titles)))
    return table


def _updates(report: DemoReport) -> Table:
    table = Table(title="What each sync downloaded", title_justify="left")
    for name in ("sync", "release", "bytes", "files downloaded", "files reused"):
        table.add_column(name, justify="left" if name == "sync" else "right")
    for update in report.updates:
        table.add_row(
            update.reason,
            str(update.release),
            f"{update.bytes_downloaded:,}",
            str(update.files_downloaded),
            str(update.files_reused),
        )
    return table


def _seconds(seconds: Mapping[str, float]) -> Table:
    table = Table(title="Seconds by step", title_justify="left")
    table.add_column("step")
    table.add_column("s", justify="right")
    for step, value in seconds.items():
        table.add_row(step, f"{value:.1f}")
    table.add_section()
    table.add_row("all", f"{sum(seconds.values()):.1f}")
    return table
