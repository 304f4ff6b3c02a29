"""Collects all feedback of a device, by its privacy level: into the queue of events, or into the private counts."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from edge_runtime.contract.events import FeedbackEvent
from edge_runtime.feedback.event_queue import FeedbackQueue, QueueStatus, SendReport, send_feedback
from edge_runtime.feedback.private_counts import CountBook, send_counts
from edge_runtime.feedback.server_client import ServerClient
from edge_runtime.node_settings import NodeSettings

QUEUE_FILE = "feedback.sqlite"
COUNTS_FILE = "counts.sqlite"


class NodeFeedback:
    """The feedback of one enrolled device in `home`.

    Raises:
        ConfigError: level `counts` without OpenDP.
        StorageError: the disk is full, read-only or not permitted.
        FeedbackError: a file is damaged.
    """

    def __init__(
        self, home: Path, settings: NodeSettings, server: ServerClient, *, clock_s: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        self._server = server
        self._clock_s = clock_s
        self._book: CountBook | None = None
        self._queue = FeedbackQueue(home / QUEUE_FILE, privacy=settings.privacy, max_events=settings.max_events)
        try:
            if settings.privacy == "counts":
                self._book = CountBook(home / COUNTS_FILE, settings.counts, clock_s=clock_s)
            elif (home / COUNTS_FILE).exists():
                # Counted under another choice: not to be kept, and not to be sent later.
                (home / COUNTS_FILE).unlink()
        except BaseException:
            self._queue.close()
            raise

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
        """
        if self._book is None:
            return self._queue.record_all(events)
        for event in events:
            self._book.record(event)
        return [None] * len(events)

    def send(self) -> SendReport:
        """Send what the level permits; what it does not permit (any longer) is removed unsent.

        Raises:
            DownloadError, StorageError: as `send_feedback`; what waits is kept.
        """
        settings = self._settings
        if settings.privacy in {"off", "counts"} and self._queue.status().waiting:
            self._queue.forget()
        if settings.privacy == "off":
            return SendReport(sent=0, refused=[])
        if self._book is not None:
            return send_counts(self._book, self._server)
        return send_feedback(self._queue, self._server, consent=settings.consent, clock_s=self._clock_s)

    def status(self) -> QueueStatus:
        """Count what waits and what was dropped.

        Raises:
            FeedbackError: the file is damaged.
        """
        return self._queue.status()

    def forget_here(self) -> int:
        """Remove what waits on this device, unsent; return how many events and counts that were.

        Raises:
            StorageError: the disk is full, read-only or not permitted.
        """
        return self._queue.forget() + (self._book.forget() if self._book is not None else 0)
