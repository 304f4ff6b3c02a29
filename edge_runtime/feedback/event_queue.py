"""The durable feedback queue: SQLite in WAL mode, bounded, sent at least once, numbered so that the server counts once.

When the queue is full, the oldest impressions are removed (they are many, and each says little). When none is left, the
new event is refused with QueueFullError, or counted as dropped if it is an impression itself.

An event of a kind that only a newer runtime knows (which used this file before) is set aside: the others are sent, and
the newer runtime sends it later.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import zstandard

from edge_runtime.contract.errors import DownloadError, QueueFullError
from edge_runtime.contract.events import (
    COMPRESSED_ENCODING,
    EVENT_KINDS,
    IMPRESSION,
    Consent,
    FeedbackBatch,
    FeedbackEvent,
    FeedbackReceipt,
    SequencedEvent,
    check_event,
    check_known_kind,
)
from edge_runtime.feedback.privacy import PrivacyLevel, permitted
from edge_runtime.feedback.queue_file import QueueFile
from edge_runtime.feedback.server_client import ServerClient, decode_answer

_LOG = logging.getLogger(__name__)
# Half of what a server takes in one request by default (sync_server/config.py), so that its limits may be lowered.
_MAX_BATCH_EVENTS = 500
_MAX_BATCH_BYTES = 400_000
_MAX_RECEIPT_BYTES = 1_000_000  # a sentence of at most 2,000 characters for each event of a batch
_COMPRESSED_FROM_BYTES = 1_000  # a shorter body fits one network packet anyway
_ZSTD_LEVEL = 3  # zstd's own default

_TABLES = """
CREATE TABLE IF NOT EXISTS events (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,  -- AUTOINCREMENT: a number is never given twice, even after deletion
    impression INTEGER NOT NULL,
    event BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS oldest_impressions ON events (impression, sequence);
CREATE TABLE IF NOT EXISTS set_aside (sequence INTEGER PRIMARY KEY, kind TEXT NOT NULL, event BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""
_EVENT_TABLES = ("events", "set_aside")


@dataclass(frozen=True)
class QueueStatus:
    """How many events wait, how many impressions were dropped for room, and the last number that was given.

    `set_aside` more wait for a runtime that knows their kind.
    """

    waiting: int
    dropped: int
    last_sequence: int
    set_aside: int


@dataclass(frozen=True)
class SendReport:
    """What one sending did: events accepted by the server, and why it refused others (they are not sent again)."""

    sent: int
    refused: list[str]


class FeedbackQueue:
    """Events on their way to the server, in `path`; safe to use from several processes and threads.

    Args:
        path: the SQLite file; made when missing.
        privacy: what of an event may be stored and sent.
        max_events: the bound.
        given_before: numbers up to this one may have been given by a queue that was lost; a new file begins above it.

    Raises:
        StorageError: the file cannot be made or written.
        QueueDamagedError: the file is not a queue, or damaged.
    """

    def __init__(
        self, path: Path, *, privacy: PrivacyLevel = "events", max_events: int = 10_000, given_before: int = 0
    ) -> None:
        self._path = path
        self._privacy = privacy
        self._max_events = max_events
        self._file = QueueFile(path, _TABLES)
        try:
            self._skip(given_before)
            self._take_back()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "FeedbackQueue":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was recorded stays."""
        self._file.close()

    def check(self) -> None:
        """Read the whole file.

        Raises:
            QueueDamagedError: it is damaged.
        """
        self._file.check()

    def record(self, event: FeedbackEvent) -> int | None:
        """Store what the privacy level permits of `event`; return its number, or None when nothing was stored.

        When this returns, the event survives a power loss. None means: the level is `off`, or an impression found the
        queue full of events that weigh more.

        Raises:
            EventRejectedError: the event is malformed, or of an unknown kind.
            QueueFullError: the queue is full and holds no impression that could make room.
            StorageError: the disk is full, read-only or not permitted.
        """
        return self.record_all([event])[0]

    def record_all(self, events: Sequence[FeedbackEvent]) -> list[int | None]:
        """Store several events as `record` does, all or none, with one wait for the disk; return their numbers.

        Raises:
            EventRejectedError, QueueFullError, StorageError: as `record`; none was stored.
        """
        for event in events:
            check_event(event)
            check_known_kind(event.kind)
        allowed = [permitted(event, self._privacy) for event in events]
        if not any(allowed):
            return [None] * len(events)
        with self._file.transaction():
            return [None if event is None else self._store(event) for event in allowed]

    def _store(self, event: FeedbackEvent) -> int | None:
        if not self._make_room():
            if event.kind == IMPRESSION:
                self._count_dropped(1)
                return None
            raise QueueFullError(
                f"{self._path} holds its {self._max_events} events and none may be dropped; sync this device"
            )
        return self._file.database.execute(
            "INSERT INTO events (impression, event) VALUES (?, ?)",
            (event.kind == IMPRESSION, msgspec.json.encode(event)),
        ).lastrowid

    def _make_room(self) -> bool:
        excess = self._file.scalar("SELECT count(*) FROM events") - self._max_events + 1
        if excess <= 0:
            return True
        oldest = "SELECT sequence FROM events WHERE impression = 1 ORDER BY sequence LIMIT ?"
        removed = self._file.database.execute(f"DELETE FROM events WHERE sequence IN ({oldest})", (excess,)).rowcount  # noqa: S608
        self._count_dropped(removed)
        return removed >= excess

    def _count_dropped(self, number: int) -> None:
        self._file.database.execute(
            "INSERT INTO counters VALUES ('dropped', ?) ON CONFLICT (name) DO UPDATE SET value = value + ?",
            (number, number),
        )

    def batch(self, limit: int = _MAX_BATCH_EVENTS, *, max_bytes: int = _MAX_BATCH_BYTES) -> list[SequencedEvent]:
        """Return the oldest waiting events in rising sequence: at most `limit`, some `max_bytes` in all, at least one.

        An event is cut to what the privacy level permits now, whatever it was when the event was stored. Events of an
        unknown kind are set aside, events that cannot be read are dropped and counted.

        Raises:
            QueueDamagedError: the file is damaged.
            StorageError: the disk is full, read-only or not permitted.
        """
        events = self._oldest(limit)
        while unknown := [(item.sequence, item.event.kind) for item, _ in events if item.event.kind not in EVENT_KINDS]:
            self._set_aside(unknown)
            events = self._oldest(limit)
        chosen: list[SequencedEvent] = []
        size = 0
        for item, stored_bytes in events:
            size += stored_bytes
            if chosen and size > max_bytes:
                break
            event = permitted(item.event, self._privacy)
            if event is not None:
                chosen.append(SequencedEvent(item.sequence, event))
        return chosen

    def _oldest(self, limit: int) -> list[tuple[SequencedEvent, int]]:
        with self._file.errors_named():
            rows = self._file.database.execute("SELECT sequence, event FROM events ORDER BY sequence LIMIT ?", (limit,))
            found = [(sequence, _decoded(data), len(data)) for sequence, data in rows]
        unreadable = [(sequence,) for sequence, event, _ in found if event is None]
        if unreadable:
            _LOG.warning("%s holds %d events that cannot be read; they are dropped", self._path, len(unreadable))
            with self._file.transaction():
                self._file.database.executemany("DELETE FROM events WHERE sequence = ?", unreadable)
                self._count_dropped(len(unreadable))
            return self._oldest(limit)
        return [(SequencedEvent(sequence, event), size) for sequence, event, size in found if event is not None]

    def _set_aside(self, unknown: list[tuple[int, str]]) -> None:
        with self._file.transaction():
            self._file.database.executemany(
                "INSERT OR IGNORE INTO set_aside SELECT sequence, ?2, event FROM events WHERE sequence = ?1", unknown
            )
            self._file.database.executemany(
                "DELETE FROM events WHERE sequence = ?", [(sequence,) for sequence, _ in unknown]
            )

    def _skip(self, given_before: int) -> None:
        known = "SELECT 1 FROM sqlite_sequence WHERE name = 'events'"
        with self._file.errors_named():
            if given_before and not self._file.scalar(known):
                # One statement, because another process may begin the same file.
                self._file.database.execute(
                    f"INSERT INTO sqlite_sequence SELECT 'events', ? WHERE NOT EXISTS ({known})",
                    (given_before,),
                )

    def _take_back(self) -> None:
        """Let what was set aside wait again as far as its kind is known by now, under its own number."""
        known = (msgspec.json.encode(list(EVENT_KINDS)).decode(),)
        where = "WHERE kind IN (SELECT value FROM json_each(?))"
        with self._file.errors_named():
            if not self._file.scalar(f"SELECT count(*) FROM set_aside {where}", known):  # noqa: S608
                return
        with self._file.transaction():
            self._file.database.execute(
                f"INSERT OR IGNORE INTO events SELECT sequence, kind = '{IMPRESSION}', event FROM set_aside {where}",  # noqa: S608
                known,
            )
            self._file.database.execute(f"DELETE FROM set_aside {where}", known)  # noqa: S608

    def acknowledge(self, sequence: int) -> None:
        """Remove every event up to and including `sequence`: the server has them.

        Raises:
            StorageError: the disk is full, read-only or not permitted; the events stay and are sent again.
        """
        with self._file.transaction():
            self._file.database.execute("DELETE FROM events WHERE sequence <= ?", (sequence,))

    def forget(self) -> int:
        """Remove every event unsent, from the disk as well; return how many there were."""
        with self._file.transaction():
            removed = sum(self._file.database.execute(f"DELETE FROM {table}").rowcount for table in _EVENT_TABLES)  # noqa: S608
        self._file.overwrite_log()
        return removed

    def status(self) -> QueueStatus:
        """Count what waits and what was dropped.

        Raises:
            QueueDamagedError: the file is damaged.
        """
        with self._file.errors_named():
            return QueueStatus(
                waiting=self._file.scalar("SELECT count(*) FROM events"),
                dropped=self._file.scalar("SELECT value FROM counters WHERE name = 'dropped'"),
                last_sequence=self._file.scalar("SELECT seq FROM sqlite_sequence WHERE name = 'events'"),
                set_aside=self._file.scalar("SELECT count(*) FROM set_aside"),
            )


def _decoded(data: bytes) -> FeedbackEvent | None:
    try:
        return msgspec.json.decode(data, type=FeedbackEvent)
    except msgspec.MsgspecError:
        return None


def send_feedback(
    queue: FeedbackQueue,
    server: ServerClient,
    *,
    consent: Consent | None = None,
    clock_s: Callable[[], float] = time.time,
) -> SendReport:
    """Send everything that waits, batch by batch; an event leaves the queue when the server has stored or refused it.

    Stopped halfway, a batch may be sent again; the server counts it once.

    Args:
        queue: what waits.
        server: where to, and in whose name.
        consent: the choice of privacy level that the events were recorded under.
        clock_s: gives seconds since 1970 as this device believes; the server tells the clock's error by it.

    Raises:
        DownloadError: the network, or a receipt that cannot be true; the events wait for the next call.
        StorageError: the disk is full, read-only or not permitted.
    """
    sent, refused = 0, list[str]()
    while events := queue.batch():
        batch = FeedbackBatch(
            version=1, device_id=server.device_id, events=events, sent_at_s=clock_s(), consent=consent
        )
        receipt = _post(server, msgspec.json.encode(batch))
        if receipt.acknowledged != events[-1].sequence:
            raise DownloadError(
                f"the server acknowledged event {receipt.acknowledged} where {events[-1].sequence} was the last one "
                "sent; the events were kept, update the server"
            )
        queue.acknowledge(receipt.acknowledged)
        refused += receipt.refused
        sent += len(events) - len(receipt.refused)
    return SendReport(sent=sent, refused=refused)


def _post(server: ServerClient, body: bytes) -> FeedbackReceipt:
    headers = {}
    if len(body) > _COMPRESSED_FROM_BYTES:
        headers["Content-Encoding"] = COMPRESSED_ENCODING
        body = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(body)
    data = server.request(
        "POST", "/v1/feedback", what="receipt", body=body, headers=headers, max_bytes=_MAX_RECEIPT_BYTES
    )
    return decode_answer(data, FeedbackReceipt, what="receipt", remedy="the events were kept")
