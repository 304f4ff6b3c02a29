"""Writes events, many requests in one transaction.

A commit waits for the disk. While one thread writes, the batches of the other threads gather, and the next thread writes all
of them in one transaction. A single batch does not wait for others: it is written at once.
"""

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from sqlalchemy import Connection, Dialect, Engine, Row, bindparam, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from edge_runtime.contract.errors import StorageError
from edge_runtime.contract.events import IMPRESSION, SUCCESS_KINDS, FeedbackEvent
from sync_server.database.engine import database_errors_named, is_postgresql, writers_turn
from sync_server.database.tables.devices import Device
from sync_server.database.tables.events import Event
from sync_server.errors import UNKNOWN_DEVICE, RequestError
from sync_server.events.daily_quota import DailyQuota, Usage, over_quota
from sync_server.rollouts.daily_cap import Counted
from sync_server.rollouts.day_counts import StoredEvents, count_events

# 20 of the largest batches (`max_feedback_events`); it bounds the memory and the time of one transaction.
MAX_GROUP_EVENTS = 20_000

EVENT_COLUMNS = ("device_id", "sequence", "received_at_s", *FeedbackEvent.__struct_fields__)
"""The order of a row's values."""

_SEQUENCE, _KIND = EVENT_COLUMNS.index("sequence"), EVENT_COLUMNS.index("kind")
# The fields of `DeviceNews`, those of `Usage` and of `Counted`, then the device.
_NEWS_COLUMNS = (
    *("last_feedback_at_s", "bundle_id", "privacy_level", "consented_at_s"),
    *Usage._fields,
    *Counted._fields,
    "device_id",
)


EventRow = tuple[Any, ...]


class DeviceNews(NamedTuple):
    """What a batch says about its device. None leaves the database's value as it is. Text has no NUL character."""

    at_s: float
    bundle_id: str
    privacy_level: str | None = None
    consented_at_s: float | None = None


@dataclass(frozen=True)
class DeviceEvents:
    """Events of one device, and what they say of the device.

    Args:
        device_id: an enrolled device.
        rows: the values of each event in the order of EVENT_COLUMNS, rising by sequence; text without the character NUL.
        news: for the device's own row.
        size_bytes: length of the unpacked body that they came in.
    """

    device_id: str
    rows: Sequence[EventRow]
    news: DeviceNews
    size_bytes: int = 0

    def after(self, sequence: int) -> "DeviceEvents":
        """Return the same without the events up to `sequence`."""
        if not self.rows or self.rows[0][_SEQUENCE] > sequence:
            return self
        return replace(self, rows=[row for row in self.rows if row[_SEQUENCE] > sequence])


@dataclass
class _Waiting:
    batch: DeviceEvents
    is_done: bool = False
    stored: int = 0
    error: Exception | None = None

    def fail(self, error: Exception) -> None:
        """End without success, unless it ended before."""
        if not self.is_done:
            self.error, self.is_done = error, True


@dataclass
class EventWriter:
    """Stores each event of a device once, however often it comes; safe to use from several threads and processes.

    Args:
        engine: the database.
        quota: how much one device may send in a day.
    """

    engine: Engine
    quota: DailyQuota = field(default_factory=DailyQuota)
    _waiting: list[_Waiting] = field(default_factory=list)
    _gathering: threading.Lock = field(default_factory=threading.Lock)
    _writing: threading.Lock = field(default_factory=threading.Lock)

    def store(self, batch: DeviceEvents) -> int:
        """Store a batch; return how many of its events are new. When this returns, they survive a crash.

        Raises:
            RequestError: the device does not exist any more, it was revoked, or it is over its quota.
            StorageError: the database cannot be written; nothing of the batch is stored.
            Exception: any other fault; nothing of the batch is stored.
        """
        mine = _Waiting(batch)
        with self._gathering:
            self._waiting.append(mine)
        # Another thread may have written this batch before the lock is free.
        with self._writing:
            while not mine.is_done:
                group = self._take_group()
                try:
                    self._write(group)
                finally:
                    # Whatever happened: a batch that is neither done nor waiting would keep its thread here for ever.
                    for waiting in group:
                        waiting.fail(StorageError("the writer was interrupted; nothing of the batch was stored"))
        if mine.error is not None:
            raise mine.error
        return mine.stored

    def _take_group(self) -> list[_Waiting]:
        """Return waiting batches, the oldest first up to the limit of events, one for each device, sorted by device."""
        group: dict[str, _Waiting] = {}
        rest, events = [], 0
        with self._gathering:
            for waiting in self._waiting:
                events += len(waiting.batch.rows)
                if waiting.batch.device_id in group or (group and events > MAX_GROUP_EVENTS):
                    rest.append(waiting)
                else:
                    group[waiting.batch.device_id] = waiting
            self._waiting[:] = rest
        # Every process locks devices in this order, so that no two wait for each other forever.
        return [group[device_id] for device_id in sorted(group)]

    def _write(self, group: list[_Waiting]) -> None:
        try:
            with database_errors_named(), writers_turn(self.engine), self.engine.begin() as connection:
                stored = _store_group(connection, [waiting.batch for waiting in group], self.quota)
        except Exception as error:  # noqa: BLE001  (each batch of the group has a thread that waits for its end)
            if len(group) > 1 and not _concerns_all(error):
                # A batch that cannot be stored must not stop the others.
                for waiting in group:
                    self._write([waiting])
                return
            for waiting in group:
                waiting.fail(_as_named(error))
            return
        for waiting in group:
            count = stored.get(waiting.batch.device_id)
            if count is not None:
                waiting.stored, waiting.is_done = count, True
            elif waiting.batch.device_id in stored:
                waiting.fail(over_quota(waiting.batch.news.at_s))
            else:
                waiting.fail(RequestError(UNKNOWN_DEVICE, status_code=401))


def _concerns_all(error: Exception) -> bool:
    """Return whether the database or the machine failed: each further batch would wait for the same timeout in vain."""
    return isinstance(error, OSError) or isinstance(
        error.__cause__, OperationalError | InterfaceError | PoolTimeoutError | OSError
    )


def _as_named(error: Exception) -> Exception:
    # Devices send again after a StorageError, and the operator is told that the machine needs help.
    if isinstance(error, OSError):
        return StorageError(f"the events cannot be written: {error.strerror or error}; nothing was stored")
    return StorageError(str(error)) if isinstance(error, StorageError) else error


def _store_group(connection: Connection, batches: Sequence[DeviceEvents], quota: DailyQuota) -> dict[str, int | None]:
    """Store the batches of different devices.

    Returns:
        The count of new events by device, None for one that is over its quota, and nothing for an unknown one.
    """
    # The lock replaces a foreign key, whose check takes PostgreSQL longer than inserting the event.
    locked = connection.execute(_LOCK_DEVICES, {"devices": [batch.device_id for batch in batches]})
    known = {row.device_id: row for row in locked}
    forgotten = {device_id: row.forgotten_sequence for device_id, row in known.items()}
    wanted = [batch.after(forgotten[batch.device_id]) for batch in batches if batch.device_id in forgotten]
    usage = {batch.device_id: _usage(known[batch.device_id], batch) for batch in wanted}
    wanted = [batch for batch in wanted if quota.allows(usage[batch.device_id])]
    answers: dict[str, int | None] = dict.fromkeys(known)
    if not wanted:
        return answers
    insert = _insert_into_postgresql if is_postgresql(connection) else _insert_into_sqlite
    kinds = {batch.device_id: Counter[str]() for batch in wanted} | insert(connection, wanted)
    stored = [_stored(batch, known[batch.device_id], kinds[batch.device_id]) for batch in wanted]
    news = [
        (*batch.news, *usage[batch.device_id], *one.counted, batch.device_id)
        for batch, one in zip(wanted, stored, strict=True)
    ]
    if is_postgresql(connection):
        connection.exec_driver_sql(_POSTGRESQL_NEWS, _arrays(news))
    else:
        connection.exec_driver_sql(_SQLITE_NEWS, news)
    count_events(connection, stored)
    return answers | {device_id: new.total() for device_id, new in kinds.items()}


def _usage(row: Row[Any], batch: DeviceEvents) -> Usage:
    before = Usage(row.quota_day, row.quota_bytes, row.quota_events)
    return before.plus(at_s=batch.news.at_s, size_bytes=batch.size_bytes, events=len(batch.rows))


def _stored(batch: DeviceEvents, before: Row[Any], new: Counter[str]) -> StoredEvents:
    at_s, clicks = batch.news.at_s, sum(new[kind] for kind in SUCCESS_KINDS)
    earlier = Counted(before.counted_day, before.counted_impressions, before.counted_clicks)
    counted = earlier.plus(at_s=at_s, impressions=new[IMPRESSION], clicks=clicks)
    return StoredEvents(batch.device_id, at_s, before.last_feedback_at_s, earlier, counted)


def _insert_into_postgresql(connection: Connection, batches: Sequence[DeviceEvents]) -> dict[str, Counter[str]]:
    """Insert the events; return how many are new, by device and kind."""
    rows = [row for batch in batches for row in batch.rows]
    new: dict[str, Counter[str]] = {}
    if rows:
        for row in connection.exec_driver_sql(_POSTGRESQL_INSERT, _arrays(rows)):
            new.setdefault(row.device_id, Counter())[row.kind] = row.new_events
    return new


def _insert_into_sqlite(connection: Connection, batches: Sequence[DeviceEvents]) -> dict[str, Counter[str]]:
    """Insert the events; return how many are new, by device and kind."""
    last = connection.exec_driver_sql(_SQLITE_LAST).scalar_one()
    new = {}
    for batch in batches:
        if not batch.rows:
            continue
        inserted = connection.exec_driver_sql(_SQLITE_INSERT, list(batch.rows)).rowcount
        if inserted == len(batch.rows):
            new[batch.device_id] = Counter(row[_KIND] for row in batch.rows)
        else:
            found = connection.exec_driver_sql(_SQLITE_NEW_KINDS, (last, batch.device_id))
            new[batch.device_id] = Counter({row.kind: row.new_events for row in found})
    return new


def _arrays(rows: Sequence[EventRow]) -> tuple[str, ...]:
    return tuple(map(array_literal, zip(*rows, strict=True)))


def array_literal(values: Sequence[str | float | None]) -> str:
    """Return a column of texts or numbers as PostgreSQL writes an array.

    The driver would convert each value by itself, which takes longer than the rest of the request.
    """
    gaps = values.count(None)
    if gaps == len(values):
        # unnest fills a column that is too short with NULL.
        return "{}"
    if not isinstance(next(value for value in values if value is not None), str):
        return "{" + ",".join(["NULL" if value is None else repr(value) for value in values]) + "}"
    if gaps:
        return "{" + ",".join(["NULL" if value is None else _quoted(str(value)) for value in values]) + "}"
    # NUL stands between the values, since PostgreSQL has no text with it.
    joined = "\0".join(map(str, values))
    if joined.count("\0") != len(values) - 1:
        raise StorageError("a text of an event holds the character NUL, which no database here can store")
    return "{" + _quoted(joined).replace("\0", '","') + "}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _postgresql_types(table: type[Device] | type[Event], names: Sequence[str]) -> str:
    """Return a parameter for an array of each column, for `unnest`."""
    columns = table.__table__.columns
    return ", ".join(f"%s::{columns[name].type.compile(_DIALECT)}[]" for name in names)


_LOCK_DEVICES = (
    select(
        Device.device_id,
        Device.forgotten_sequence,
        Device.last_feedback_at_s,
        *(getattr(Device, name) for name in (*Usage._fields, *Counted._fields)),
    )
    .where(Device.device_id.in_(bindparam("devices", expanding=True)), Device.revoked_at_s.is_(None))
    .order_by(Device.device_id)
    .with_for_update(key_share=True)
)
_DIALECT: Dialect = postgresql.psycopg.dialect()  # type: ignore[no-untyped-call]
# One statement each for any number of rows: an array per column in, for events counts of new rows by device and kind out.
_POSTGRESQL_INSERT = (
    f"WITH new AS (INSERT INTO events ({', '.join(EVENT_COLUMNS)}) "  # noqa: S608
    f"SELECT * FROM unnest({_postgresql_types(Event, EVENT_COLUMNS)}) "
    "ON CONFLICT (device_id, sequence) DO NOTHING RETURNING device_id, kind) "
    "SELECT device_id, kind, count(*) AS new_events FROM new GROUP BY device_id, kind"
)
_SQLITE_LAST = "SELECT coalesce(max(id), 0) FROM events"
# The plus keeps SQLite from the index of devices: the events after `last` are those of this transaction.
_SQLITE_NEW_KINDS = "SELECT kind, count(*) AS new_events FROM events WHERE id > ? AND +device_id = ? GROUP BY kind"
_SQLITE_INSERT = (
    f"INSERT INTO events ({', '.join(EVENT_COLUMNS)}) VALUES ({', '.join('?' * len(EVENT_COLUMNS))}) "  # noqa: S608
    "ON CONFLICT (device_id, sequence) DO NOTHING"
)
_POSTGRESQL_NEWS = (
    "UPDATE devices SET last_feedback_at_s = news.at_s, bundle_id = news.bundle_id, "  # noqa: S608
    "privacy_level = coalesce(news.level, privacy_level), consented_at_s = coalesce(news.consented, consented_at_s), "
    "quota_day = news.day, quota_bytes = news.bytes, quota_events = news.events, "
    "counted_day = news.counted, counted_impressions = news.shown, counted_clicks = news.clicks "
    f"FROM unnest({_postgresql_types(Device, _NEWS_COLUMNS)}) "
    "AS news (at_s, bundle_id, level, consented, day, bytes, events, counted, shown, clicks, device_id) "
    "WHERE devices.device_id = news.device_id"
)
_SQLITE_NEWS = (
    "UPDATE devices SET last_feedback_at_s = ?, bundle_id = ?, privacy_level = coalesce(?, privacy_level), "
    "consented_at_s = coalesce(?, consented_at_s), quota_day = ?, quota_bytes = ?, quota_events = ?, "
    "counted_day = ?, counted_impressions = ?, counted_clicks = ? WHERE device_id = ?"
)
