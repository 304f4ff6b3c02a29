"""The demo's result as tables for people."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from compress.demo import DemoReport

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
    table = Table(title="Ranking quality on held-out queries (NDCG@10, 95% interval)", title_justify="left")
    for name in ("stage", "queries", "re-rank", "retrieval"):
        table.add_column(name, justify="left" if name == "stage" else "right", no_wrap=True)
    for row in report.quality:
        table.add_row(row["stage"], str(row["queries"]), _interval(row, "rerank"), _interval(row, "retrieval"))
    return table


def _interval(row: Mapping[str, Any], figure: str) -> str:
    low, high = row[f"{figure}_ci95"]
    return f"{row[f'{figure}_ndcg10']:.3f} ({low:.3f} … {high:.3f})"


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
    table = Table(title="What the device answered", title_justify="left")
    for name in ("asked", "shows"):
        table.add_column(name)
    table.add_column("best three", no_wrap=True, overflow="ellipsis", min_width=30)
    table.add_column("ms", justify="right")
    for answer in report.answers:
        table.add_row(escape(answer.asked), answer.shows, escape("\n".join(answer.titles)), f"{answer.latency_ms:.1f}")
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
