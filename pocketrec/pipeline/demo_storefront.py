"""The demo's last part: its server once more, for a browser."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pocketrec.pipeline.cli_subprocess import run_command, serving


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
