"""A real browser on a real socket: headless Chromium, driven by Playwright."""

import contextlib
import shutil
from collections.abc import Iterator

from flask import Flask
from playwright.sync_api import Browser, Page, sync_playwright
from werkzeug.serving import make_server

from tests.support.loopback import listening

PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 860}


@contextlib.contextmanager
def serving(app: Flask) -> Iterator[str]:
    """Serve `app` on a free port of this machine; yield its address."""
    with listening(make_server("127.0.0.1", 0, app, threaded=True)) as url:
        yield url


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium; it is installed with: scripts/debian_packages.sh."""
    path = shutil.which("chromium")
    if path is None:
        raise RuntimeError("there is no chromium; install it with: scripts/debian_packages.sh")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            yield browser
        finally:
            browser.close()


def log_in(page: Page, url: str, *, name: str, password: str) -> None:
    """Log in to the console with the keyboard alone."""
    page.goto(f"{url}/console/")
    page.get_by_label("Name").fill(name)
    page.keyboard.press("Tab")
    page.keyboard.type(password)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{url}/console/")
