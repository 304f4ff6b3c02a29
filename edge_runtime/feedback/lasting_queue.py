"""The feedback queue of a device, which outlasts its file: opened once the disk permits it, begun anew when damaged.

A damaged file is set aside as `feedback.sqlite.damaged-<seconds since 1970>`. It stays until the next one is damaged, or
until the feedback is forgotten.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from edge_runtime.contract.atomic_files import disk_errors_named
from edge_runtime.contract.errors import QueueDamagedError
from edge_runtime.feedback.event_queue import FeedbackQueue
from edge_runtime.feedback.privacy import PrivacyLevel
from edge_runtime.feedback.queue_file import given_before

_LOG = logging.getLogger(__name__)
# The log goes first: beside a new file, SQLite would write the old log into that.
_SQLITE_FILES = ("-wal", "-shm", "")

T = TypeVar("T")


class LastingQueue:
    """The queue in the file at `path`; from any thread. Arguments as of `FeedbackQueue`; `clock_s` gives seconds since 1970."""

    def __init__(
        self, path: Path, *, privacy: PrivacyLevel, max_events: int, clock_s: Callable[[], float] = time.time
    ) -> None:
        self._path = path
        self._privacy = privacy
        self._max_events = max_events
        self._clock_s = clock_s
        self._queue: FeedbackQueue | None = None
        self._turn = threading.Lock()

    def use(self, work: Callable[[FeedbackQueue], T]) -> T:
        """Return what `work` returns of the queue; when that is damaged, `work` is done again on a new one.

        Raises:
            StorageError: the file cannot be opened or written; the next call tries it again.
        """
        queue = self._current()
        try:
            return work(queue)
        except QueueDamagedError:
            return work(self._current(damaged=queue))

    def _current(self, *, damaged: FeedbackQueue | None = None) -> FeedbackQueue:
        with self._turn:
            if damaged is not None and self._queue is damaged:  # else another thread has replaced it
                self._queue = None
                damaged.close()
            if self._queue is None:
                self._queue = self._opened(check=damaged is not None)
            return self._queue

    def _opened(self, *, check: bool = False) -> FeedbackQueue:
        try:
            queue = self._new()
        except QueueDamagedError as error:
            return self._begun_anew(error)
        if check:  # another process may have replaced it already
            try:
                queue.check()
            except QueueDamagedError as error:
                queue.close()
                return self._begun_anew(error)
        return queue

    def _new(self) -> FeedbackQueue:
        begin = given_before(self._clock_s())
        return FeedbackQueue(self._path, privacy=self._privacy, max_events=self._max_events, given_before=begin)

    def _begun_anew(self, error: QueueDamagedError) -> FeedbackQueue:
        now_s = int(self._clock_s())
        aside = self._path.with_name(f"{self._path.name}.damaged-{now_s}")
        _LOG.warning("%s; set aside as %s, a new queue is begun", error, aside.name)
        self.remove_damaged()
        with disk_errors_named(aside):
            for ending in _SQLITE_FILES:
                with contextlib.suppress(FileNotFoundError):
                    Path(f"{self._path}{ending}").rename(f"{aside}{ending}")
        return self._new()

    def remove_damaged(self) -> None:
        """Remove the file that was set aside, if there is one.

        Raises:
            StorageError: the disk is read-only or not permitted.
        """
        with disk_errors_named(self._path):
            for path in self._path.parent.glob(f"{self._path.name}.damaged-*"):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file; what was recorded stays."""
        if self._queue is not None:
            self._queue.close()
