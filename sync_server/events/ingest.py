"""Takes in the events of a device: refuses invalid ones, corrects its clock, writes the receipt."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
from sqlalchemy import func, select

from edge_runtime.contract.errors import EventRejectedError
from edge_runtime.contract.events import FeedbackBatch, FeedbackEvent, FeedbackReceipt, check_event
from sync_server.database.engine import DatabaseService, read_session
from sync_server.database.tables.events import Event
from sync_server.errors import RequestError
from sync_server.events.daily_quota import DailyQuota
from sync_server.events.event_writer import DeviceEvents, DeviceNews, EventRow, EventWriter

# Half of the largest integer of the database, so that a sum with it cannot overflow.
MAX_SEQUENCE = 2**62
# Clocks that a network sets are off by less. A smaller limit would "correct" by the duration of a slow request.
_TOLERATED_SKEW_S = 120.0
_TIMESTAMP = FeedbackEvent.__struct_fields__.index("timestamp_s")


@dataclass(frozen=True)
class EventIngest(DatabaseService):
    """Stores the events of devices in one database, each once.

    Args:
        quota: how much one device may send in a day.
    """

    quota: DailyQuota = field(default_factory=DailyQuota)
    _writer: EventWriter = field(init=False)

    def __post_init__(self) -> None:
        """Open the writer of events."""
        object.__setattr__(self, "_writer", EventWriter(self.engine, self.quota))

    def store(self, batch: FeedbackBatch, *, size_bytes: int = 0) -> FeedbackReceipt:
        """Store a batch in one transaction; events that are stored already are counted, not stored again.

        Args:
            batch: events of an enrolled device, whose identity the caller has checked.
            size_bytes: length of the unpacked body that they came in.

        Raises:
            RequestError: no events, numbers that do not rise, a device that was revoked, or one that is over its quota.
            StorageError: the database cannot be written; nothing of the batch is stored.
        """
        numbers = [item.sequence for item in batch.events]
        rising = all(left < right for left, right in itertools.pairwise(numbers))
        if not numbers or not rising or not 0 < numbers[0] <= numbers[-1] <= MAX_SEQUENCE:
            raise RequestError(
                "expected events with rising sequence numbers from 1; nothing was stored", status_code=400
            )
        refused: list[str] = []
        now_s = self.clock_s()
        rows = list(_rows(batch, refused, now_s))
        news = DeviceNews(now_s, batch.events[-1].event.bundle_id[:64].replace("\0", ""))
        if batch.consent is not None:
            news = news._replace(privacy_level=batch.consent.level, consented_at_s=batch.consent.given_at_s)
        stored = self._writer.store(DeviceEvents(batch.device_id, rows, news, size_bytes))
        return FeedbackReceipt(acknowledged=numbers[-1], stored=stored, duplicates=len(rows) - stored, refused=refused)

    def count_events(self) -> int:
        """Return how many events are stored."""
        with read_session(self.engine) as session:
            return session.scalar(select(func.count()).select_from(Event)) or 0


def _rows(batch: FeedbackBatch, refused: list[str], now_s: float) -> Iterator[EventRow]:
    skew_s = clock_skew_s(batch.sent_at_s, now_s)
    for item in batch.events:
        try:
            check_event(item.event)
        except EventRejectedError as error:
            refused.append(f"event {item.sequence}: {error}")
            continue
        values = msgspec.structs.astuple(item.event)
        # An event cannot happen after it arrives.
        timestamp_s = min(item.event.timestamp_s + skew_s, now_s)
        if timestamp_s != item.event.timestamp_s:
            values = (*values[:_TIMESTAMP], timestamp_s, *values[_TIMESTAMP + 1 :])
        yield (batch.device_id, item.sequence, now_s, *values)


def clock_skew_s(sent_at_s: float | None, now_s: float) -> float:
    """Return the seconds to add to a device's times: the error of its clock when it sent, 0 below two minutes."""
    if sent_at_s is None or not math.isfinite(sent_at_s) or abs(now_s - sent_at_s) < _TOLERATED_SKEW_S:
        return 0.0
    return now_s - sent_at_s
