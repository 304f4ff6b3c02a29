"""Collects all feedback of a device, by its privacy level: into the queue of events, or into the private counts."""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from edge_runtime.contract.atomic_files import disk_errors_named
from edge_runtime.contract.errors import QueueDamagedError, StorageError
from edge_runtime.contract.events import FeedbackEvent
from edge_runtime.feedback.event_queue import FeedbackQueue, QueueStatus, SendReport, send_feedback
from edge_runtime.feedback.lasting_queue import LastingQueue
from edge_runtime.feedback.private_counts import CountBook, send_counts
from edge_runtime.feedback.server_client import ServerClient
from edge_runtime.node_settings import NodeSettings

_LOG = logging.getLogger(__name__)
QUEUE_FILE = "feedback.sqlite"
COUNTS_FILE = "counts.sqlite"


class NodeFeedback:
    """The feedback of one enrolled device in `home`; a disk that cannot be written is tried again at each use.

    Raises:
        ConfigError: level `counts` without OpenDP.
    """

    def __init__(
        self, home: Path, settings: NodeSettings, server: ServerClient, *, clock_s: Callable[[], float] = time.time
    ) -> None:
        self._counts_path = home / COUNTS_FILE
        self._settings = settings
        self._server = server
        self._clock_s = clock_s
        self._book: CountBook | None = None
        self._queue = LastingQueue(
            home / QUEUE_FILE, privacy=settings.privacy, max_events=settings.max_events, clock_s=clock_s
        )
        try:
            self._open()
        except (StorageError, QueueDamagedError) as error:
            _LOG.warning("feedback is not kept: %s", error)
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self._queue.use(FeedbackQueue.status)
        if self._settings.privacy == "counts":
            self._counts()
            return
        # Counted under another choice: not to be kept, and not to be sent later.
        with disk_errors_named(self._counts_path):
            self._counts_path.unlink(missing_ok=True)

    def _counts(self) -> CountBook:
        if self._book is None:
            self._book = CountBook(self._counts_path, self._settings.counts, clock_s=self._clock_s)
        return self._book

    def close(self) -> None:
        """Close the files; what was recorded stays."""
        self._queue.close()
        if self._book is not None:
            self._book.close()

    def record(self, event: FeedbackEvent) -> int | None:
        """Keep what the level permits of `event`; return its number, or None when nothing is to be sent as an event.

        Raises:
            EventRejectedError, QueueFullError, StorageError: as `FeedbackQueue.record`.
        """
        return self.record_all([event])[0]

    def record_all(self, events: Sequence[FeedbackEvent]) -> list[int | None]:
        """Keep what the level permits of several events, with one wait for the disk; return as `record` does.

        Raises:
            EventRejectedError, QueueFullError, StorageError: as `FeedbackQueue.record`; none was kept.
            QueueDamagedError: the private counts are damaged.
        """
        if self._settings.privacy != "counts":
            return self._queue.use(lambda queue: queue.record_all(events))
        book = self._counts()
        for event in events:
            book.record(event)
        return [None] * len(events)

    def send(self) -> SendReport:
        """Send what the level permits; what it does not permit (any longer) is removed unsent.

        Raises:
            DownloadError, StorageError: as `send_feedback`; what waits is kept.
        """
        settings = self._settings
        if settings.privacy in {"off", "counts"}:
            self._queue.remove_damaged()
            if self._queue.use(FeedbackQueue.status).waiting:
                self._queue.use(FeedbackQueue.forget)
        if settings.privacy == "off":
            return SendReport(sent=0, refused=[])
        if settings.privacy == "counts":
            return send_counts(self._counts(), self._server)
        return self._queue.use(
            lambda queue: send_feedback(queue, self._server, consent=settings.consent, clock_s=self._clock_s)
        )

    def status(self) -> QueueStatus:
        """Count what waits and what was dropped.

        Raises:
            StorageError: the file cannot be opened.
        """
        return self._queue.use(FeedbackQueue.status)

    def forget_here(self) -> int:
        """Remove what waits on this device, unsent; return how many events and counts that were.

        Raises:
            StorageError: the disk is full, read-only or not permitted.
        """
        self._queue.remove_damaged()
        removed = self._queue.use(FeedbackQueue.forget)
        return removed + (self._counts().forget() if self._settings.privacy == "counts" else 0)
