"""Runs the stages of a build: each has a folder and a key, and runs once for each key.

The key of a stage is a digest of its settings and of the keys before it. A stage whose `done.json` has the current key
does not run again. A stage that was stopped halfway continues from its checkpoints. A stage whose key changed starts from
the beginning.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Protocol

from edge_runtime.contract.atomic_files import write_bytes_atomically
from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.types import Progress
from train.errors import TrainingError

StageWork = Callable[[Path, Progress], tuple[str, dict[str, Any]]]
"""Gets the stage's folder and a progress function; returns one line for people and a JSON report."""

KEY_FILE, DONE_FILE = "key.txt", "done.json"
RECORD_FILE, LOCK_FILE = "builds.json", "lock.json"


class Reporter(Protocol):
    """Shows the person at the keyboard where a build is."""

    def started(self, stage: str) -> None:
        """Called when a stage begins to run."""
        ...

    def progress(self, stage: str, done: int, total: int) -> None:
        """Called often while a stage runs."""
        ...

    def finished(self, stage: str, line: str, *, seconds: float, reused: bool) -> None:
        """Called once for each stage, with one line of result."""
        ...


@dataclass(frozen=True)
class StageResult:
    """What a stage left: its folder, its key, what it reports (JSON), how long it ran in seconds."""

    folder: Path
    key: str
    report: dict[str, Any]
    seconds: float


@contextlib.contextmanager
def locked(work: Path) -> Iterator[None]:
    """Lock the folder `work` against other builds; the system releases the lock when this process ends, even by a kill.

    Raises:
        ConfigError: another process builds in it.
    """
    work.mkdir(parents=True, exist_ok=True)
    with (work / LOCK_FILE).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{work} is in use by {_holder(work)}; wait for it, or give another --work") from None
        file.truncate(0)
        since = time.strftime("%Y-%m-%d %H:%M:%S %z")
        file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}))
        file.flush()
        yield


def _holder(work: Path) -> str:
    try:
        held = json.loads((work / LOCK_FILE).read_text())
        return f"process {held['pid']} on {held['host']} since {held['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def digest_of(*parts: Any) -> str:
    """Return a SHA-256 over JSON-like parts and dataclasses; equal parts give equal digests on every machine."""
    return hashlib.sha256(json.dumps(_plain(parts), sort_keys=True, default=str).encode()).hexdigest()


def _plain(part: Any) -> Any:
    if is_dataclass(part) and not isinstance(part, type):
        return {one.name: _plain(getattr(part, one.name)) for one in fields(part)}
    if isinstance(part, Mapping):
        return {key: _plain(value) for key, value in part.items()}
    return [_plain(value) for value in part] if isinstance(part, list | tuple) else part


class Stages:
    """Runs stages inside one working folder."""

    def __init__(self, folder: Path, *, resume: bool, reporter: Reporter, by_key: bool = False) -> None:
        """Open `folder`; without `resume`, whatever an earlier run left there is removed.

        With `by_key` a stage's results of unlike keys stand side by side instead of in each other's place, so that
        builds that differ in one setting share all stages before it.

        Raises:
            TrainingError: `folder` holds files that no build wrote; nothing has been removed.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if not resume:
            (folder / RECORD_FILE).unlink(missing_ok=True)
            stages = sorted(path for path in folder.iterdir() if path.name != LOCK_FILE)
            for stage in stages:
                _refuse_strangers(stage)
            for stage in stages:
                _remove(stage)
        self._folder = folder
        self._reporter = reporter
        self._by_key = by_key

    def run(
        self,
        name: str,
        key_parts: list[Any],
        work: StageWork,
    ) -> StageResult:
        """Run one stage, or take its result when it has run with the same key.

        Args:
            name: names the folder.
            key_parts: everything that the result depends on.
            work: see `StageWork`.

        Raises:
            TrainingError: the stage's folder holds files that no build wrote; nothing has been removed.
        """
        key = digest_of(name, *key_parts)
        folder = self._folder / (f"{name}-{key[:16]}" if self._by_key else name)
        done = _read_done(folder, key)
        if done is not None:
            self._reporter.finished(name, done["line"], seconds=done["seconds"], reused=True)
            return StageResult(folder, key, done["report"], done["seconds"])
        self._reporter.started(name)
        _prepare(folder, key)
        started = time.monotonic()
        line, report = work(folder, lambda part, total: self._reporter.progress(name, part, total))
        seconds = time.monotonic() - started
        content = {"key": key, "line": line, "report": report, "seconds": seconds}
        write_bytes_atomically(folder / DONE_FILE, json.dumps(content, indent=1).encode())
        self._reporter.finished(name, line, seconds=seconds, reused=False)
        return StageResult(folder, key, report, seconds)


def _read_done(folder: Path, key: str) -> dict[str, Any] | None:
    try:
        done = json.loads((folder / DONE_FILE).read_text())
    except (OSError, ValueError):
        return None
    return done if isinstance(done, dict) and done.get("key") == key else None


def _prepare(folder: Path, key: str) -> None:
    """Keep what a stopped run with the same key left, remove what any other left."""
    try:
        known = (folder / KEY_FILE).read_text()
    except OSError:
        known = ""
    if known != key and folder.exists():
        _refuse_strangers(folder)
        _remove(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DONE_FILE).unlink(missing_ok=True)
    write_bytes_atomically(folder / KEY_FILE, key.encode())


def _refuse_strangers(folder: Path) -> None:
    """Refuse what is no stage; a folder that holds at most a temporary file is one that was stopped while it began."""
    if (folder / KEY_FILE).exists():
        return
    if not folder.is_dir() or any(not path.name.startswith(".tmp-") for path in folder.iterdir()):
        raise TrainingError(f"{folder} is nothing that a build wrote; give another --work folder or remove it")


def _remove(folder: Path) -> None:
    """Remove a stage so that, stopped anywhere, what is left is known as an unfinished stage of a build."""
    (folder / DONE_FILE).unlink(missing_ok=True)
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != KEY_FILE:
            path.unlink()
    shutil.rmtree(folder)
