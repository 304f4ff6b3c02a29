"""Shared by the commands of all benchmarks: find the data, build a bundle, end with one sentence and an exit code."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from edge_runtime.contract.errors import ConfigError, PocketrecError


def data_folder(holds: str) -> Path:
    """Return the folder that POCKETREC_DATA names; `holds` says what it has to contain.

    Raises:
        ConfigError: it is unset or no folder.
    """
    value = os.environ.get("POCKETREC_DATA", "")
    if not value or not Path(value).is_dir():
        raise ConfigError(f"POCKETREC_DATA is {value!r}: set it to the folder that holds {holds}")
    return Path(value)


def build_bundle(shop: Path, bundle: Path, *, config: Path | None, options: tuple[str, ...] = ()) -> None:
    """Run `pocketrec build`, as users type it; it goes on where an earlier run was stopped.

    Raises:
        PocketrecError: the build failed; it printed why to stderr.
    """
    command = [sys.executable, "-m", "pocketrec", "build", str(shop), "--out", str(bundle), "--resume", *options]
    if config is not None:
        command += ["--config", str(config)]
    finished = subprocess.run(command, check=False, stdout=sys.stderr)
    if finished.returncode != 0:
        raise PocketrecError(f"`{' '.join(command[1:])}` ended with exit code {finished.returncode}; see above for why")


def exit_code_of(name: str, run: Callable[[], object]) -> int:
    """Call `run` and return 0; where it raises an error of ours, print that after `name` and return the error's code."""
    try:
        run()
    except PocketrecError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
    return 0
