"""Runs `pocketrec` in a process of its own: one command to its end, or a server in the background."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from compress.errors import DemoError
from edge_runtime.contract.atomic_files import disk_errors_named

_HOME = Path(__file__).resolve().parents[1]
_STOP_TIMEOUT_S = 15.0


def run_command(arguments: Sequence[str]) -> dict[str, Any]:
    """Run `pocketrec ARGUMENTS`, which end in --json, and return what it printed; its stderr is shown while it runs.

    Raises:
        DemoError: it ended with another code than 0, or printed no JSON object.
    """
    done = subprocess.run(_command(arguments), env=_environment(), stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise DemoError(
            f"`pocketrec {arguments[0]}` ended with exit code {done.returncode}; the lines above say why, and the "
            "demo's folder is left as it is"
        )
    return _json_object(done.stdout, arguments[0])


@contextlib.contextmanager
def serving(arguments: Sequence[str], *, log: Path, ready_timeout_s: float = 60.0) -> Iterator[str]:
    """Run `pocketrec serve …` and yield its address once it answers; it is stopped in every case.

    Args:
        arguments: the command, without --json.
        log: file that gets what the server says.
        ready_timeout_s: how long the start may take.

    Raises:
        DemoError: it ended or gave no address in that time.
        StorageError: the log cannot be written.
    """
    with disk_errors_named(log), log.open("wb") as log_file:
        process = subprocess.Popen(
            _command([*arguments, "--json"]),
            env=_environment(),
            stdout=subprocess.PIPE,
            stderr=log_file,
            text=True,
            start_new_session=True,
        )
    reader, lines = _read_in_background(process.stdout)
    try:
        yield _address(lines, ready_timeout_s, log)
    finally:
        _stop(process)
        reader.join()
        if process.stdout is not None:
            process.stdout.close()


def _command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "pocketrec", *arguments]


def _environment() -> dict[str, str]:
    # Found from every working folder, and before a file of the user's with an equal name.
    paths = [str(_HOME), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}


def _json_object(text: str, verb: str) -> dict[str, Any]:
    try:
        # Some commands print a line for each stage; the last object is the result.
        value = json.loads(text if text.lstrip().startswith("{\n") else text.strip().rpartition("\n")[2])
    except ValueError as error:
        raise DemoError(f"`pocketrec {verb} --json` printed something that is not JSON: {text[:200]!r}") from error
    if not isinstance(value, dict):
        raise DemoError(f"`pocketrec {verb} --json` printed {text[:200]!r}, expected one JSON object")
    return value


def _read_in_background(stream: IO[str] | None) -> tuple[threading.Thread, "queue.Queue[str]"]:
    # Reads to the end, so that the server never waits for a full pipe; an empty line means that it ended.
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        for line in stream or ():
            lines.put(line)
        lines.put("")

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    return reader, lines


def _address(lines: "queue.Queue[str]", timeout_s: float, log: Path) -> str:
    try:
        line = lines.get(timeout=timeout_s)
    except queue.Empty:
        line = ""
    if not line:
        raise DemoError(f"the server gave no address within {timeout_s:.0f} s; {log} says why")
    return str(_json_object(line, "serve")["url"])


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(timeout=_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
