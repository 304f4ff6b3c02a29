"""The demo: build, publish, sync, search and feedback on the sample shop, with the commands that a user types.

shop sample -> build -> keys -> serve -> publish -> enroll, sync -> search, recommend -> feedback -> new prices ->
build --resume -> publish -> sync
"""

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from compress.errors import DemoError
from edge_runtime.contract.atomic_files import disk_errors_named, write_bytes_atomically
from edge_runtime.contract.bundle import REPORT_FILE
from pocketrec.cli_subprocess import run_command, serving

SETTINGS = Path(__file__).with_name("demo.toml")
CHANNEL = "stable"
MARK_FILE = "made-by-pocketrec-demo"
"""Stands in a folder that the next demo may replace."""
SALE = 0.9
"""The second publication sells everything at this share of its price."""


@dataclass(frozen=True)
class Answer:
    """One question to the device: what was asked, why, the titles that came back (best first), the time it took."""

    asked: str
    shows: str
    titles: tuple[str, ...]
    latency_ms: float


@dataclass(frozen=True)
class Update:
    """What one sync of the device did."""

    reason: str
    release: int
    bytes_downloaded: int
    files_downloaded: int
    files_reused: int


@dataclass(frozen=True)
class DemoReport:
    """What the demo showed.

    Attributes:
        folder: where everything lies: shop, bundle, keys, server, device.
        seconds: step -> how long it took.
        quality: a row for each stage, from the bundle's report.
        bench: the output of `pocketrec bench --json`.
        answers: what the device said.
        updates: the first installation, then the new prices.
        events_stored: feedback events that reached the server.
    """

    folder: Path
    seconds: dict[str, float]
    quality: list[dict[str, Any]]
    bench: dict[str, Any]
    answers: list[Answer]
    updates: list[Update]
    events_stored: int


def run_demo(
    folder: Path,
    *,
    products: int = 2000,
    config: Path = SETTINGS,
    on_step: Callable[[str], None] = lambda command: None,
) -> DemoReport:
    """Run the demo in `folder`; the server that it starts is stopped in every case.

    Args:
        folder: a new or empty folder, or that of an earlier demo, which is replaced; what the demo made stays there.
        products: size of the sample shop.
        config: settings of the build, as TOML; by default some that suit a few minutes.
        on_step: called with each command before it runs.

    Raises:
        DemoError: the folder is not empty, or a command failed (it printed why to stderr).
        StorageError: the disk is full, read-only or not permitted.
    """
    folder = folder.resolve()
    _prepare(folder)
    return _Demo(folder, config, on_step).run(products)


def _prepare(folder: Path) -> None:
    mark = folder / MARK_FILE
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not mark.exists()):
        raise DemoError(f"{folder} is not empty; give the demo a new folder with --dir")
    with disk_errors_named(folder):
        if mark.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        mark.touch()


class _Demo:
    def __init__(self, folder: Path, config: Path, on_step: Callable[[str], None]) -> None:
        self._folder = folder
        self._shop = folder / "shop"
        self._bundle = folder / "bundle"
        self._keys = folder / "keys"
        self._server = folder / "server"
        self._device = folder / "device"
        self._config = config.resolve()
        self._on_step = on_step
        self._seconds: dict[str, float] = {}
        self._updates: list[Update] = []

    def run(self, products: int) -> DemoReport:
        self._run("make a shop", "shop", "sample", self._shop, "--products", str(products))
        self._run("build", "build", self._shop, "--out", self._bundle, "--config", self._config)
        bench = self._run("measure", "bench", self._bundle)
        self._run("make keys", "keys", "init", "--dir", self._keys)
        serve = ["serve", "--home", str(self._server), "--keys", str(self._keys), "--port", "0", "--workers", "1"]
        self._on_step(" ".join(["pocketrec", *serve]))
        with serving(serve, log=self._folder / "server.log") as url:
            self._publish(url, "publish")
            self._enroll(url)
            self._sync("first installation")
            answers = self._ask()
            self._record(answers)
            self._sync("feedback sent")
            self._change_prices()
            self._run("build again", "build", self._shop, "--out", self._bundle, "--resume", "--config", self._config)
            self._publish(url, "publish again")
            self._sync("new prices")
            events_stored = self._events_stored()
        return DemoReport(
            folder=self._folder,
            seconds=self._seconds,
            quality=json.loads((self._bundle / REPORT_FILE).read_bytes())["quality"],
            bench=bench,
            answers=[answer for answer, _ in answers],
            updates=self._updates,
            events_stored=events_stored,
        )

    def _run(self, step: str, *arguments: str | Path) -> dict[str, Any]:
        words = [str(argument) for argument in arguments]
        self._on_step(" ".join(["pocketrec", *(f"'{word}'" if " " in word or "{" in word else word for word in words)]))
        started = time.monotonic()
        result = run_command([*words, "--json"])
        self._seconds[step] = self._seconds.get(step, 0.0) + time.monotonic() - started
        return result

    def _publish(self, url: str, step: str) -> None:
        token = self._server / "publisher.token"
        self._run(
            step, "publish", self._bundle, "--channel", CHANNEL, "--keys", self._keys, "--server", url,
            "--token-file", token,
        )  # fmt: skip

    def _enroll(self, url: str) -> None:
        code = self._run("enroll", "serve", "--home", self._server, "--new-enrollment-code")["code"]
        code_file = self._folder / "enrollment-code.txt"
        write_bytes_atomically(code_file, f"{code}\n".encode())
        self._run(
            "enroll", "node", "enroll", "--home", self._device, "--server", url, "--root", self._keys / "root.json",
            "--code-file", code_file, "--channel", CHANNEL, "--privacy", "events",
        )  # fmt: skip

    def _sync(self, reason: str) -> None:
        update = self._run(f"sync: {reason}", "node", "sync", "--home", self._device)["update"]
        fields = ("release", "bytes_downloaded", "files_downloaded", "files_reused")
        self._updates.append(Update(reason=reason, **{name: update[name] for name in fields}))

    def _ask(self) -> list[tuple[Answer, list[str]]]:
        bundle = self._device / "current"
        searches = [
            ("cofee tabel oak", "two typing errors", []),
            ("wireless earphones", "words that people use for it", []),
            ("desk lamp", "with a filter: below 60", ["--where", '{"price": {"lt": 60}}']),
        ]
        answers = [
            self._answer(f'search "{query}"', shows, "search", bundle, query, "-k", "3", *options)
            for query, shows, options in searches
        ]
        history = [ids[0] for _, ids in answers[:2]]
        asked = f"recommend after {', '.join(history)}"
        answers.append(
            self._answer(asked, "what goes with the first two", "recommend", bundle, *history, "-k", "3", "--new")
        )
        return answers

    def _answer(self, asked: str, shows: str, *arguments: str | Path) -> tuple[Answer, list[str]]:
        found = self._run("ask the device", *arguments)
        rows = found["products"]
        if not rows:
            raise DemoError(f"the device has no answer to {asked}; look at the bundle's report in {self._bundle}")
        titles = tuple(row["title"] for row in rows)
        return Answer(asked, shows, titles, found["latency_ms"]), [row["product_id"] for row in rows]

    def _record(self, answers: list[tuple[Answer, list[str]]]) -> None:
        for _, product_ids in answers[:2]:
            for kind in ("impression", "click"):
                self._run(
                    "record feedback", "node", "record", "--home", self._device, "--kind", kind,
                    "--product", product_ids[0], "--position", "1",
                )  # fmt: skip

    def _change_prices(self) -> None:
        path = self._shop / "products.parquet"
        table = pq.read_table(path)
        prices = pc.round(pc.multiply(table["price"], SALE), 2)
        sink = pa.BufferOutputStream()
        pq.write_table(table.set_column(table.schema.get_field_index("price"), "price", prices), sink)
        write_bytes_atomically(path, sink.getvalue().to_pybytes())

    def _events_stored(self) -> int:
        file = self._folder / "feedback.jsonl"
        result = self._run("export feedback", "serve", "--home", self._server, "--export-feedback", file)
        return int(result["events"])


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


@contextlib.contextmanager
def serving_storefront(folder: Path, *, port: int) -> Iterator[str]:
    """Serve the shop of a finished demo; yield its address, which ends in a code that enrolls the browser.

    Args:
        folder: of the demo.
        port: to listen on, 0 for any free one.

    Raises:
        DemoError: the server did not start.
    """
    home = folder / "server"
    code = run_command(["serve", "--home", str(home), "--new-enrollment-code", "--json"])["code"]
    command = ["serve", "--home", str(home), "--port", str(port), "--workers", "1"]
    with serving(command, log=folder / "storefront.log") as url:
        yield f"{url}/shop/#enroll={code}"


def storefront_command(folder: Path) -> str:
    """Return the command that serves the shop of a finished demo."""
    return f"pocketrec serve --home {folder / 'server'}"
