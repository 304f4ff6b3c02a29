"""Takes pictures of the console: `python -m tests.support.console_pictures FOLDER`."""

import sys
import tempfile
from pathlib import Path

from tests.support.browser import DESK, PHONE, chromium, log_in, serving
from tests.support.console_fleet import PASSWORD, fleet_with_a_past

PAGES = ("", "rollouts", "experiments", "feedback", "devices", "audit", "keys")


def take_pictures(folder: Path) -> None:
    """Write a picture of every page, at desk and phone width, light and dark."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        simulator = fleet_with_a_past(Path(home) / "sim")
        with serving(simulator.app) as url, chromium() as browser:
            for name, size, scheme in (("desk", DESK, "light"), ("phone", PHONE, "light"), ("dark", DESK, "dark")):
                page = browser.new_page(viewport=size, color_scheme=scheme)
                page.goto(f"{url}/console/")
                page.screenshot(path=folder / f"{name}-login.png")
                log_in(page, url, name="admin", password=PASSWORD)
                for path in PAGES:
                    page.goto(f"{url}/console/{path}")
                    page.screenshot(path=folder / f"{name}-{path or 'fleet'}.png")
                page.goto(f"{url}/console/rollouts")
                page.locator("tbody a").first.click()
                page.get_by_role("heading", name="History").wait_for()
                page.screenshot(path=folder / f"{name}-rollout.png")
                page.close()
        simulator.close()


if __name__ == "__main__":
    take_pictures(Path(sys.argv[1]))
