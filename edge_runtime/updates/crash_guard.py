"""Counts starts that did not finish, so that a bundle that crashes its process is replaced by the one before."""

import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from edge_runtime.contract.atomic_files import read_json, write_json_atomically

MAX_CRASHES = 3
"""After so many starts in a row that broke off, the bundle before answers again."""
SETTLED_AFTER_S = 60.0
"""A process that has answered for so long has started well, however it ends."""


class _Starts(msgspec.Struct, frozen=True):
    bundle_id: str
    broken_off: int


class CrashGuard:
    """The starts of one device, in the file at `path`.

    A start counts as broken off until `settle`, or until a call of `tick` after `SETTLED_AFTER_S`. Systems that end
    processes at will do so rarely three times in a row within a minute of the start.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._started: tuple[str, float] | None = None

    def begin(self, bundle_id: str) -> bool:
        """Remember that `bundle_id` is about to be opened; return whether its last `MAX_CRASHES` starts broke off.

        Raises:
            StorageError: the disk is full, read-only or not permitted.
        """
        before = read_json(self._path, _Starts)
        broken_off = before.broken_off if before is not None and before.bundle_id == bundle_id else 0
        write_json_atomically(self._path, _Starts(bundle_id, min(broken_off, MAX_CRASHES) + 1))
        self._started = (bundle_id, self._clock())
        return broken_off >= MAX_CRASHES

    def tick(self) -> None:
        """Settle when the process has answered for long enough."""
        if self._started is not None and self._clock() - self._started[1] >= SETTLED_AFTER_S:
            self.settle()

    def settle(self) -> None:
        """Remember that the running start went well.

        Raises:
            StorageError: the disk is full, read-only or not permitted.
        """
        if self._started is not None:
            write_json_atomically(self._path, _Starts(self._started[0], 0))
            self._started = None
