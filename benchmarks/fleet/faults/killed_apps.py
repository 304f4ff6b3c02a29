"""Apps that are killed after an answer keep their bundle; a bundle that kills its app while it opens is given up."""

import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO
from unittest import mock

import numpy as np

from benchmarks.fleet.faults.table import Row
from benchmarks.fleet.plain_bundle import write_plain_bundle
from benchmarks.fleet.server_process import ServerProcess
from benchmarks.fleet.sync_load import publish_to
from edge_runtime import node as node_module
from edge_runtime.contract.bundle import CATALOGUE_FILES, open_bundle
from edge_runtime.node import EdgeNode
from edge_runtime.recommender import Recommendations
from edge_runtime.updates.crash_guard import MAX_CRASHES
from edge_runtime.updates.self_test import Proof

_DEADLY = "deadly"
_LONGEST_WAIT_S = 0.01
"""An answer takes some milliseconds, so that kills fall into all parts of one."""
_SAY_EVERY = 1_000


class PlainRecommender:
    """Answers without a model; a bundle whose catalogue says so kills the process that opens it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.bundle = open_bundle(self.folder)

    @classmethod
    def open(cls, folder: Path) -> "PlainRecommender":
        """Open the bundle."""
        if _DEADLY.encode() in (folder / CATALOGUE_FILES[0]).read_bytes():
            os.kill(os.getpid(), signal.SIGKILL)
        return cls(folder)

    def prove(self) -> Proof:
        """Find every bundle good."""
        return Proof(answers=1, worst_cosine=1.0, overlap=1.0)

    def search(self, _query: str, *, k: int, where: object = None) -> Recommendations:
        """Answer one product."""
        return Recommendations(("p1",)[:k], np.array([1.0], np.float32)[:k])

    def close(self) -> None:
        """Do nothing."""


def measure_killed_apps(*, kills: int, seed: int = 0) -> list[Row]:
    """Return how many of `kills` the bundle outlived, and after how many starts a deadly one was given up."""
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(node_module, "Recommender", PlainRecommender),
    ):
        home = Path(folder) / "device"
        server = ServerProcess()
        try:
            server.enroll_home(home)
            for words in ("first", "second"):
                _install(server, home, words)
            kept = _kept(home, kills, random.Random(seed))
            _install(server, home, _DEADLY)
        finally:
            server.stop()
        starts = _starts_until_answer(home)
    return [
        Row(
            "bundle kept by apps that are killed at random moments after an answer",
            f"{kills:,} of {kills:,}",
            f"{kept:,} of {kills:,}",
            met=kept == kills,
        ),
        Row(
            "a bundle that kills its app while it opens gives way to the one before after",
            f"{MAX_CRASHES} starts",
            f"{starts} starts",
            met=starts == MAX_CRASHES,
        ),
    ]


def _install(server: ServerProcess, home: Path, words: str) -> None:
    publish_to(server, write_plain_bundle(server.folder / words, words=words))
    with EdgeNode.open(home, prove=lambda _: 1.0) as node:
        node.sync()


def _kept(home: Path, kills: int, chance: random.Random) -> int:
    kept, bundle = 0, (home / "current").resolve()
    for number in range(kills):
        with _using(home) as (pid, said):
            # The first answer first: an app that never opened its bundle says nothing about it.
            answered = said.read(1) == b"."
            time.sleep(chance.uniform(0.0, _LONGEST_WAIT_S))
            os.kill(pid, signal.SIGKILL)
        marks = list((home / "starts").glob("*"))
        kept += answered and not marks and (home / "current").resolve() == bundle
        if (number + 1) % _SAY_EVERY == 0:
            print(f"{number + 1} of {kills} apps killed", file=sys.stderr, flush=True)
    with EdgeNode.open(home) as node:
        _ = node.recommender
        status = node.status().installed
    same = status is not None and (home / "current").resolve() == bundle and not (home / "refused.json").exists()
    return kept if same else 0


@contextlib.contextmanager
def _using(home: Path) -> Iterator[tuple[int, BinaryIO]]:
    """Run an app that searches until it is killed; give its process id, and a file with a byte for each answer."""
    reader, writer = os.pipe()

    def use() -> None:
        node = EdgeNode.open(home)
        while node.search("lamp").products:
            os.write(writer, b".")

    pid = _forked(use)
    os.close(writer)
    with os.fdopen(reader, "rb", buffering=0) as said:
        yield pid, said
        os.waitpid(pid, 0)


def _forked(work: Callable[[], None]) -> int:
    """Run `work` in a copy of this process, which has imported everything; its exit code is 0 when it returned."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            work()
            os._exit(0)
        os._exit(1)
    return pid


def _starts_until_answer(home: Path) -> int:
    """Start the app until it answers; return how many starts died before."""

    def start() -> None:
        with EdgeNode.open(home) as node:
            node.search("lamp")

    for number in range(10 * MAX_CRASHES):
        if os.waitstatus_to_exitcode(os.waitpid(_forked(start), 0)[1]) == 0:
            return number
    return 10 * MAX_CRASHES
