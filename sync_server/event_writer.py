"""Writes events, many requests in one transaction.

A commit waits for the disk. While one thread writes, the others' batches gather; the next thread writes all of them in
one transaction. Nothing waits for company: a single batch is written at once.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, select, update
from sqlalchemy.dialects import postgresql

from edge_runtime.contract.errors import PocketrecError
from sync_server.database import database_errors_named, is_postgresql
from sync_server.errors import RequestError
from sync_server.models import Device, Event

MAX_GROUP_EVENTS = 20_000

_COLUMNS_OF_EVENTS = [column for column in Event.__table__.columns if column.name != "id"]
_COLUMNS = [column.name for column in _COLUMNS_OF_EVENTS]


@dataclass(frozen=True)
class DeviceEvents:
    """Events of one device and what was heard of it.

    Args:
        device_id: an enrolled device.
        rows: column -> value of each event, rising by `sequence`.
        heard: columns of the device's own row to set.
    """

    device_id: str
    rows: Sequence[dict[str, Any]]
    heard: dict[str, object]

    def after(self, sequence: int) -> "DeviceEvents":
        """Return the same without the events up to `sequence`."""
        if not self.rows or self.rows[0]["sequence"] > sequence:
            return self
        return replace(self, rows=[row for row in self.rows if row["sequence"] > sequence])


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
            with database_errors_named(), self.engine.begin() as connection:
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
    devices = [batch.device_id for batch in batches]
    # Holding the rows stands for a foreign key, whose check would cost PostgreSQL more than the event itself.
    known = select(Device.device_id, Device.forgotten_sequence).where(Device.device_id.in_(devices))
    locked = connection.execute(known.order_by(Device.device_id).with_for_update(key_share=True))
    forgotten: dict[str, int] = {row.device_id: row.forgotten_sequence for row in locked}
    if missing := set(devices) - set(forgotten):
        raise RequestError(f"{min(missing)} is not known here any longer; enroll it anew", status_code=401)
    wanted = [batch.after(forgotten[batch.device_id]) for batch in batches]
    insert = _insert_into_postgresql if is_postgresql(connection) else _insert_into_sqlite
    stored = insert(connection, wanted)
    _note_heard(connection, batches)
    return stored


def _note_heard(connection: Connection, batches: Sequence[DeviceEvents]) -> None:
    for batch in batches:
        if batch.heard:
            connection.execute(update(Device).where(Device.device_id == batch.device_id).values(batch.heard))


def _insert_into_postgresql(connection: Connection, batches: Sequence[DeviceEvents]) -> dict[str, int]:
    rows = [row for batch in batches for row in batch.rows]
    if not rows:
        return {}
    columns = tuple([row[name] for row in rows] for name in _COLUMNS)
    counted = connection.exec_driver_sql(_POSTGRESQL_INSERT, columns)
    return {row.device_id: row.new_events for row in counted}


def _insert_into_sqlite(connection: Connection, batches: Sequence[DeviceEvents]) -> dict[str, int]:
    stored = {}
    for batch in batches:
        if batch.rows:
            rows = [tuple(row[name] for name in _COLUMNS) for row in batch.rows]
            stored[batch.device_id] = connection.exec_driver_sql(_SQLITE_INSERT, rows).rowcount
    return stored


_DIALECT: Dialect = postgresql.psycopg.dialect()  # type: ignore[no-untyped-call]


def _postgresql_insert() -> str:
    """Return one statement for any number of rows: an array per column in, counts of new rows by device out."""
    types = [column.type.compile(_DIALECT) for column in _COLUMNS_OF_EVENTS]
    arrays = ", ".join(f"%s::{name}[]" for name in types)
    return (
        f"WITH new AS (INSERT INTO events ({', '.join(_COLUMNS)}) SELECT * FROM unnest({arrays}) "  # noqa: S608
        "ON CONFLICT (device_id, sequence) DO NOTHING RETURNING device_id) "
        "SELECT device_id, count(*) AS new_events FROM new GROUP BY device_id"
    )


_POSTGRESQL_INSERT = _postgresql_insert()
_SQLITE_INSERT = (
    f"INSERT INTO events ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))}) "  # noqa: S608
    "ON CONFLICT (device_id, sequence) DO NOTHING"
)
