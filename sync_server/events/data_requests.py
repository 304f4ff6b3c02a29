"""Copies and erasure of the stored data of one device, at its owner's request.

An erased event does not come back. The device's row has the number of its last erased event, and events up to that number
count as duplicates when they are sent again (event_writer.py).
"""

import itertools
from collections.abc import Iterator

import msgspec
from sqlalchemy import Engine, delete, func, select, update
from sqlalchemy.orm import Session

from edge_runtime.contract.events import ErasureReceipt
from sync_server.database.engine import every_row, read_session, require_row, write_session
from sync_server.database.tables.base import Base
from sync_server.database.tables.counts import CountRow
from sync_server.database.tables.devices import Device, DeviceBundle, DeviceReportRow
from sync_server.database.tables.events import Event
from sync_server.errors import RequestError
from sync_server.operators.audit_log import append

_SECRET_COLUMNS = {"credential_sha256"}


def device_data(engine: Engine, device_id: str) -> Iterator[bytes]:
    """Return all stored data of a device as lines of JSON: the device, its events, its reports.

    Raises:
        RequestError: no such device.
        StorageError: the database cannot be read.
    """
    with read_session(engine) as session:
        first = _line("device", _known_device(session, device_id))
    lines = (
        _line(what, row)
        for what, table in (("event", Event), ("count_report", CountRow), ("bundle_report", DeviceReportRow))
        for row in every_row(engine, table, table.id, table.device_id == device_id)
    )
    return itertools.chain([first], lines)


def _known_device(session: Session, device_id: str, *, to_change: bool = False) -> Device:
    missing = RequestError(f"there is no device {device_id[:80]!r}", status_code=404)
    # PostgreSQL takes no NUL in a text, and no name has one.
    return require_row(session, Device, device_id.replace("\0", ""), missing, to_change=to_change)


def _line(what: str, row: Base) -> bytes:
    columns = [column for column in row.__table__.columns if column.name not in _SECRET_COLUMNS]
    values = {column.name: value for column in columns if (value := getattr(row, column.key)) is not None}
    return msgspec.json.encode({"what": what, **values}) + b"\n"


def erase_device(engine: Engine, device_id: str, *, actor: str, now_s: float) -> ErasureReceipt:
    """Erase every event and report of a device in one transaction, with a line in the audit log.

    The device stays enrolled.

    Raises:
        RequestError: no such device.
        StorageError: the database cannot be written; nothing was erased.
    """
    with write_session(engine) as session:
        # Locked first: events that arrive meanwhile are stored either before the erasure or after it.
        device = _known_device(session, device_id, to_change=True)
        newest = session.scalar(select(func.max(Event.sequence)).where(Event.device_id == device_id)) or 0
        device.forgotten_sequence = max(device.forgotten_sequence, newest)
        events = session.execute(delete(Event).where(Event.device_id == device_id)).rowcount  # type: ignore[attr-defined]
        # The rows of count reports stay without content: they mark their windows, so that a replay is a duplicate.
        marks = update(CountRow).where(CountRow.device_id == device_id, CountRow.epsilon > 0)
        reports = session.execute(marks.values(bits=b"", epsilon=0.0, hash_number=0)).rowcount  # type: ignore[attr-defined]
        for about_bundles in (DeviceReportRow, DeviceBundle):
            session.execute(delete(about_bundles).where(about_bundles.device_id == device_id))
        append(session, now_s, actor, "device data erased", device_id)
    return ErasureReceipt(events=events, count_reports=reports)
