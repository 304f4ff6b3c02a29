"""Writes events, many requests in one transaction.

A commit waits for the disk. While one thread writes, the others' batches gather; the next thread writes all of them in
one transaction. Nothing waits for company: a single batch is written at once.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, bindparam, select, update
from sqlalchemy.dialects import postgresql

from edge_runtime.contract.errors import PocketrecError, StorageError
from edge_runtime.contract.events import FeedbackEvent
from sync_server.database import database_errors_named, is_postgresql, writers_turn
from sync_server.errors import RequestError
from sync_server.models import Device, Event

MAX_GROUP_EVENTS = 20_000

EVENT_COLUMNS = ("device_id", "sequence", "received_at_s", *FeedbackEvent.__struct_fields__)
"""The order of a row's values."""

_SEQUENCE = EVENT_COLUMNS.index("sequence")


EventRow = tuple[Any, ...]


@dataclass(frozen=True)
class DeviceEvents:
    """Events of one device and what was heard of it.

    Args:
        device_id: an enrolled device.
        rows: the values of each event in the order of EVENT_COLUMNS, rising by sequence; text without the character NUL.
        heard: columns of the device's own row to set.
    """

    device_id: str
    rows: Sequence[EventRow]
    heard: dict[str, object]

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
    error: PocketrecError | None = None


@dataclass
class EventWriter:
    """Stores each event of a device once, however often it comes; safe to use from several threads and processes."""

    engine: Engine
    _waiting: list[_Waiting] = field(default_factory=list)
    _gathering: threading.Lock = field(default_factory=threading.Lock)
    _writing: threading.Lock = field(default_factory=threading.Lock)

    def store(self, batch: DeviceEvents) -> int:
        """Store a batch; return how many of its events are new. When this returns, they survive a crash.

        Raises:
            RequestError: the device is not here any longer.
            StorageError: the database cannot be written; nothing of the batch is stored.
        """
        mine = _Waiting(batch)
        with self._gathering:
            self._waiting.append(mine)
        # Whoever holds the lock may already have written this batch when the lock comes free.
        with self._writing:
            while not mine.is_done:
                self._write(self._take_group())
        if mine.error is not None:
            raise mine.error
        return mine.stored

    def _take_group(self) -> list[_Waiting]:
        """Return what waits, oldest first: one batch of a device, up to the limit of events, sorted by device."""
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
        # Devices are locked in this order by every process, so that two never wait for each other in a circle.
        return [group[device_id] for device_id in sorted(group)]

    def _write(self, group: list[_Waiting]) -> None:
        try:
            with database_errors_named(), writers_turn(self.engine), self.engine.begin() as connection:
                stored = _store_group(connection, [waiting.batch for waiting in group])
        except PocketrecError as error:
            if len(group) > 1:
                # One batch that cannot be stored must not take the others with it.
                for waiting in group:
                    self._write([waiting])
                return
            group[0].error = error
            group[0].is_done = True
            return
        for waiting in group:
            waiting.stored = stored.get(waiting.batch.device_id, 0)
            waiting.is_done = True


def _store_group(connection: Connection, batches: Sequence[DeviceEvents]) -> dict[str, int]:
    """Store the batches of different devices; return the count of new events by device."""
    # Holding the rows stands for a foreign key, whose check would cost PostgreSQL more than the event itself.
    locked = connection.execute(_LOCK_DEVICES, {"devices": [batch.device_id for batch in batches]})
    forgotten = {row.device_id: row.forgotten_sequence for row in locked}
    for batch in batches:
        if batch.device_id not in forgotten:
            raise RequestError(f"{batch.device_id} is not known here any longer; enroll it anew", status_code=401)
    wanted = [batch.after(forgotten[batch.device_id]) for batch in batches]
    insert = _insert_into_postgresql if is_postgresql(connection) else _insert_into_sqlite
    stored = insert(connection, wanted)
    for batch in batches:
        if batch.heard:
            connection.execute(update(Device).where(Device.device_id == batch.device_id).values(batch.heard))
    return stored


def _insert_into_postgresql(connection: Connection, batches: Sequence[DeviceEvents]) -> dict[str, int]:
    rows = [row for batch in batches for row in batch.rows]
    if not rows:
        return {}
    counted = connection.exec_driver_sql(_POSTGRESQL_INSERT, tuple(map(array_literal, zip(*rows, strict=True))))
    return {row.device_id: row.new_events for row in counted}


def _insert_into_sqlite(connection: Connection, batches: Sequence[DeviceEvents]) -> dict[str, int]:
    return {
        batch.device_id: connection.exec_driver_sql(_SQLITE_INSERT, list(batch.rows)).rowcount
        for batch in batches
        if batch.rows
    }


def array_literal(values: Sequence[str | float | None]) -> str:
    """Return a column of texts or numbers as PostgreSQL writes an array.

    The driver would take each value by itself, which costs more than everything else of a request.
    """
    if all(value is None for value in values):
        # unnest fills up a column that is too short with NULL.
        return "{}"
    if not any(isinstance(value, str) for value in values):
        return "{" + ",".join(["NULL" if value is None else repr(value) for value in values]) + "}"
    if None in values:
        return "{" + ",".join(["NULL" if value is None else _quoted(str(value)) for value in values]) + "}"
    # NUL stands between the values, since PostgreSQL has no text with it.
    joined = "\0".join(map(str, values))
    if joined.count("\0") != len(values) - 1:
        raise StorageError("a text of an event holds the character NUL, which no database here can store")
    return "{" + _quoted(joined).replace("\0", '","') + "}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _postgresql_insert() -> str:
    """Return one statement for any number of rows: an array per column in, counts of new rows by device out."""
    columns = Event.__table__.columns
    arrays = ", ".join(f"%s::{columns[name].type.compile(_DIALECT)}[]" for name in EVENT_COLUMNS)
    return (
        f"WITH new AS (INSERT INTO events ({', '.join(EVENT_COLUMNS)}) SELECT * FROM unnest({arrays}) "  # noqa: S608
        "ON CONFLICT (device_id, sequence) DO NOTHING RETURNING device_id) "
        "SELECT device_id, count(*) AS new_events FROM new GROUP BY device_id"
    )


_LOCK_DEVICES = (
    select(Device.device_id, Device.forgotten_sequence)
    .where(Device.device_id.in_(bindparam("devices", expanding=True)))
    .order_by(Device.device_id)
    .with_for_update(key_share=True)
)
_DIALECT: Dialect = postgresql.psycopg.dialect()  # type: ignore[no-untyped-call]
_POSTGRESQL_INSERT = _postgresql_insert()
_SQLITE_INSERT = (
    f"INSERT INTO events ({', '.join(EVENT_COLUMNS)}) VALUES ({', '.join('?' * len(EVENT_COLUMNS))}) "  # noqa: S608
    "ON CONFLICT (device_id, sequence) DO NOTHING"
)
