"""Runs the product's commands in a process of their own, as a user would."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.source_tree import REPOSITORY


def pocketrec(
    *arguments: str | Path, cwd: Path | None = None, timeout_s: float = 1800
) -> subprocess.CompletedProcess[str]:
    """Run `pocketrec ARGUMENTS` and return what it said; the repository is found from every `cwd`."""
    return subprocess.run(
        [sys.executable, "-m", "pocketrec", *map(str, arguments)],
        cwd=cwd or REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
