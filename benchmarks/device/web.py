"""The web runtime in a real browser: `python -m benchmarks.device.web BUNDLE`; `POCKETREC_DATA` names the data.

Two things are measured in headless Chromium, against the storefront of a real server that has published the bundle: the
time from the last typed letter to the painted page, and whether the browser answers every ESCI query as Python does.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.command import exit_code_of
from benchmarks.fleet.server_process import ServerProcess
from benchmarks.result_file import RESULTS, write_result
from benchmarks.search.esci import data_folder
from benchmarks.search.esci_protocol import load_esci
from edge_runtime.contract.bundle import open_bundle
from edge_runtime.contract.errors import ConfigError
from edge_runtime.recommender import Recommender
from pocketrec.publishing.publisher import LocalTarget, publish
from sync_server.api.storefront import FILES
from sync_server.hosting.home import open_repository

RESULT_FILE = RESULTS / "web.json"
WARM_UP = 20
BATCH = 100
_OPTIONS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
# Frames follow one another as fast as they are ready: a display's own rhythm (16.7 ms at 60 Hz) is not the software's.
_NO_FRAME_LIMIT = ("--disable-frame-rate-limit", "--disable-gpu-vsync")

_TYPE = """
async (query) => {
    const input = document.querySelector("#query");
    const results = document.querySelector("#results");
    const painted = new Promise((resolve) => {
        const observer = new MutationObserver(() => {
            observer.disconnect();
            requestAnimationFrame(() => {
                // A message that is sent in a frame arrives when the frame was painted.
                const { port1, port2 } = new MessageChannel();
                port1.onmessage = () => resolve(performance.now());
                port2.postMessage(null);
            });
        });
        observer.observe(results, { childList: true });
    });
    const started = performance.now();
    input.value = query;
    input.dispatchEvent(new Event("input", { bubbles: true }));
    const time = (await painted) - started;
    await new Promise((resolve) => setTimeout(resolve, 30));
    return time;
}
"""
_ANSWER = """
async ([url, queries]) => {
    const { Recommender, setWasmFolder } = await import(`${url}/shop/pocketrec.js`);
    setWasmFolder(`${url}/shop/wasm/`);
    globalThis.shop ??= await Recommender.open(`${url}/v1/channels/stable/`);
    const answers = [];
    for (const query of queries) answers.push((await globalThis.shop.search(query)).productIds);
    return answers;
}
"""


@dataclass(frozen=True)
class Row:
    """One line of the result file: times in milliseconds, or the share of answers that are equal."""

    name: str
    products: int
    samples: int
    p50_ms: float | None = None
    p99_ms: float | None = None
    equal: float | None = None
    equal_as_sets: float | None = None


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device.web", description=__doc__)
    parser.add_argument("bundle", type=Path, help="a bundle of ESCI products")
    parser.add_argument("--out", type=Path, default=RESULT_FILE, help="where the result file goes")
    return parser.parse_args(arguments)


def browser_path() -> str:
    """Return where Chromium lies.

    Raises:
        ConfigError: it is not installed.
    """
    found = os.environ.get("POCKETREC_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        raise ConfigError("chromium is not installed; install it with: sudo apt-get install chromium")
    return found


def open_shop(browser: Browser, url: str) -> Page:
    """Open the storefront and wait until it can answer."""
    page = browser.new_page(viewport={"width": 1280, "height": 860})
    page.goto(f"{url}/shop/")
    page.wait_for_selector("body[data-ready]", timeout=60_000)
    return page


def measure_typing(browser: Browser, url: str, queries: Sequence[str], *, name: str, products: int) -> Row:
    """Type each query and wait until its results are painted."""
    page = open_shop(browser, url)
    times = [page.evaluate(_TYPE, query) for query in [*queries[:WARM_UP], *queries]][WARM_UP:]
    page.close()
    p50, p99 = (round(float(value), 2) for value in np.percentile(times, [50, 99]))
    return Row(name=name, products=products, samples=len(times), p50_ms=p50, p99_ms=p99)


def compare_answers(browser: Browser, url: str, queries: Sequence[str], bundle: Path) -> tuple[Row, list[str]]:
    """Ask the browser and Python the same; return the row and the queries whose top ten differ."""
    page = browser.new_page()
    page.goto(f"{url}/shop/")
    found: list[list[str]] = []
    for start in range(0, len(queries), BATCH):
        found += page.evaluate(_ANSWER, [url, list(queries[start : start + BATCH])])
        print(f"browser: {len(found)} of {len(queries)} queries", file=sys.stderr, flush=True)
    page.close()
    with Recommender.open(bundle) as shop:
        expected = [list(shop.search(query).product_ids) for query in queries]
        products = len(shop)
    pairs = list(zip(queries, found, expected, strict=True))
    different = [query for query, one, other in pairs if one != other]
    as_sets = sum(set(one) == set(other) for _, one, other in pairs) / len(pairs)
    equal = 1 - len(different) / len(pairs)
    row = Row(
        name="browser answers equal to Python's (top-10 ids)", products=products, samples=len(pairs),
        equal=round(equal, 4), equal_as_sets=round(as_sets, 4),
    )  # fmt: skip
    return row, different


def measure(bundle: Path) -> list[Row]:
    """Publish the bundle on a server of its own and measure.

    Raises:
        ConfigError: no browser, no built storefront, or no data.
    """
    if not (FILES / "index.html.gz").is_file():
        raise ConfigError("the storefront is not built; build it with: make web")
    data = load_esci(data_folder())
    judged = list(data.judged)
    everything = list(dict.fromkeys([*judged, *(pair.query for pair in (*data.extras, *data.pairs))]))
    products = open_bundle(bundle).manifest.catalogue.products
    server = ServerProcess()
    try:
        target = LocalTarget(open_repository(server.config), max_file_bytes=server.config.max_file_bytes)
        publish(bundle, channel="stable", keys=server.keys, target=target)
        with sync_playwright() as playwright:
            rows = []
            for name, options in (
                ("typed query to painted results", _NO_FRAME_LIMIT),
                ("typed query to painted results, 60 Hz frames", ()),
            ):
                browser = playwright.chromium.launch(executable_path=browser_path(), args=[*_OPTIONS, *options])
                rows.append(measure_typing(browser, server.url, judged, name=name, products=products))
                browser.close()
            browser = playwright.chromium.launch(executable_path=browser_path(), args=list(_OPTIONS))
            row, different = compare_answers(browser, server.url, everything, bundle)
            browser.close()
    finally:
        server.stop()
    for query in different[:10]:
        print(f"differs: {query!r}", file=sys.stderr)
    return [*rows, row]


def show(rows: Sequence[Row]) -> None:
    """Print the rows as a table."""
    for row in rows:
        if row.equal is not None:
            print(
                f"{row.name:52} {row.products:6} products  {row.equal:.2%} of {row.samples} ({row.equal_as_sets:.2%} as sets)"
            )
        else:
            print(f"{row.name:52} {row.products:6} products  p50 {row.p50_ms:.1f} ms  p99 {row.p99_ms:.1f} ms")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the result file."""
    options = parse_arguments(arguments)

    def run() -> None:
        rows = measure(options.bundle)
        show(rows)
        content = {"rows": [asdict(row) for row in rows]}
        write_result(options.out, ("numpy", "ai-edge-litert", "playwright"), content)

    return exit_code_of("benchmarks.device.web", run)


if __name__ == "__main__":
    sys.exit(main())
