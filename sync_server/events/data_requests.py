"""Copies and erasure of the stored data of one device, at its owner's request.

An erased event does not come back. The device's row has the number of its last erased event, and events up to that number
count as duplicates when they are sent again (event_writer.py).

A backup from before an erasure has the erased data. The audit log has the erasures: an export of it, kept apart from the
backup, lets a restore repeat them.
"""

import itertools
import logging
from collections.abc import Iterable, Iterator
from datetime import datetime

import msgspec
from sqlalchemy import Engine, delete, func, select, update
from sqlalchemy.orm import Session

from edge_runtime.contract.events import ErasureReceipt
from sync_server.database.engine import empty_log, every_row, read_session, require_row, write_session
from sync_server.database.tables.base import Base
from sync_server.database.tables.counts import CountRow
from sync_server.database.tables.devices import Device, DeviceBundle, DeviceReportRow
from sync_server.database.tables.events import Event
from sync_server.errors import RequestError
from sync_server.operators.accounts import COMMAND_LINE
from sync_server.operators.audit_log import AuditEntry, append

_LOG = logging.getLogger(__name__)
_SECRET_COLUMNS = {"credential_sha256"}
_ERASED = "device data erased"
"""The action in the audit log."""


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


def erase_device(engine: Engine, device_id: str, *, actor: str, now_s: float, through: int = 0) -> ErasureReceipt:
    """Erase every event and report of a device in one transaction, with a line in the audit log.

    The device stays enrolled. In SQLite the erased texts are overwritten, in the file and in its log.

    Args:
        engine: the database.
        device_id: whose data.
        actor: who asks.
        now_s: seconds since 1970.
        through: the last number that the device has given to an event; events up to it that are still on their way are
            not stored when they arrive.

    Raises:
        RequestError: no such device.
        StorageError: the database cannot be written; nothing was erased.
    """
    with write_session(engine) as session:
        # Locked first: events that arrive meanwhile are stored either before the erasure or after it.
        device = _known_device(session, device_id, to_change=True)
        newest = session.scalar(select(func.max(Event.sequence)).where(Event.device_id == device_id)) or 0
        device.forgotten_sequence = max(device.forgotten_sequence, newest, through)
        events = session.execute(delete(Event).where(Event.device_id == device_id)).rowcount  # type: ignore[attr-defined]
        # The rows of count reports stay without content: they mark their windows, so that a replay is a duplicate.
        marks = update(CountRow).where(CountRow.device_id == device_id, CountRow.epsilon > 0)
        reports = session.execute(marks.values(bits=b"", epsilon=0.0, hash_number=0)).rowcount  # type: ignore[attr-defined]
        for about_bundles in (DeviceReportRow, DeviceBundle):
            session.execute(delete(about_bundles).where(about_bundles.device_id == device_id))
        append(session, now_s, actor, _ERASED, device_id, {"through": device.forgotten_sequence})
    if not empty_log(engine):
        _LOG.warning("the erased texts leave the log of the database at its next checkpoint: a reader needs it still")
    return ErasureReceipt(events=events, count_reports=reports)


def repeat_erasures(engine: Engine, entries: Iterable[AuditEntry], *, since: datetime, now_s: float) -> int:
    """Erase in a restored database what was erased after its backup; return of how many devices.

    Args:
        engine: the restored database.
        entries: the audit log, in which the erasures are.
        since: when the backup was begun.
        now_s: seconds since 1970.

    Raises:
        StorageError: the database cannot be written.
    """
    found = [entry for entry in entries if entry.action == _ERASED and datetime.fromisoformat(entry.at) >= since]
    # Of several erasures of a device the last one names the highest number.
    through = {entry.subject: msgspec.json.decode(entry.details).get("through", 0) for entry in found}
    erased = 0
    for device_id, sequence in through.items():
        try:
            erase_device(engine, device_id, actor=COMMAND_LINE, now_s=now_s, through=sequence)
        except RequestError:
            # It was enrolled after the backup, so nothing of it is here.
            continue
        erased += 1
    return erased
