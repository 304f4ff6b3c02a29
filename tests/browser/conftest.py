"""A real browser: Debian's Chromium without a window, and a real server with a published bundle."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from sync_server.api.storefront import FILES
from tests.support.live_server import LiveServer, live_server
from tests.support.toy_bundle import make_toy_bundle

CHROMIUM_OPTIONS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = os.environ.get("POCKETREC_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.fail(
            "these tests need a browser; install the Debian package chromium, or name one in POCKETREC_CHROMIUM"
        )
    if not (FILES / "index.html.gz").is_file():
        pytest.fail("the storefront is not built; build it with: make web")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(CHROMIUM_OPTIONS))
        yield browser
        browser.close()


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    context = chromium.new_context(viewport={"width": 1280, "height": 860})
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    page = context.new_page()
    page.set_default_timeout(30_000)
    return page


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    """A server with release 1 of the toy shop in the channel `stable`."""
    with live_server(tmp_path) as running:
        running.publish(make_toy_bundle(tmp_path / "bundle-1"))
        yield running
