"""Removes events that are older than the retention of the settings.

A removed event is not stored again: the device's row has the number up to which its events were removed, and events
that are sent again up to that number count as duplicates (event_writer.py).
"""

from collections import defaultdict
from dataclasses import dataclass

from sqlalchemy import Engine, delete, select, update

from sync_server.database.engine import write_session
from sync_server.database.tables.counts import CountRow
from sync_server.database.tables.devices import Device, DeviceReportRow
from sync_server.database.tables.events import Event

# So few that feedback, which waits for this transaction to end, is not delayed noticeably.
_PART_ROWS = 5_000
_SWEEP_EVERY_S = 60.0
_DAY_S = 86_400.0


@dataclass
class Retention:
    """Removes what is older than `days`, a part every minute, while feedback comes in; one for each worker."""

    engine: Engine
    days: int
    _next_s: float = 0.0

    def sweep_if_due(self, now_s: float) -> int:
        """Remove a part of what is too old when the last part was removed at least a minute ago; return how many rows went.

        Raises:
            StorageError: the database cannot be written; nothing was removed.
        """
        if now_s < self._next_s:
            return 0
        self._next_s = now_s + _SWEEP_EVERY_S
        return sweep(self.engine, before_s=now_s - self.days * _DAY_S)


def sweep(engine: Engine, *, before_s: float, limit: int = _PART_ROWS) -> int:
    """Remove up to `limit` events and as many reports that arrived before `before_s`; return how many went.

    Raises:
        StorageError: the database cannot be written; nothing was removed.
    """
    with write_session(engine) as session:
        old = session.execute(
            select(Event.id, Event.device_id, Event.sequence)
            .where(Event.received_at_s < before_s)
            .order_by(Event.received_at_s)
            .limit(limit)
        ).all()
        newest: dict[str, int] = defaultdict(int)
        for row in old:
            newest[row.device_id] = max(newest[row.device_id], row.sequence)
        # In the order in which every writer locks devices.
        for device_id, sequence in sorted(newest.items()):
            session.execute(
                update(Device)
                .where(Device.device_id == device_id, Device.forgotten_sequence < sequence)
                .values(forgotten_sequence=sequence)
            )
        session.execute(delete(Event).where(Event.id.in_([row.id for row in old])))
        reports = session.scalars(select(CountRow.id).where(CountRow.received_at_s < before_s).limit(limit)).all()
        session.execute(delete(CountRow).where(CountRow.id.in_(reports)))
        old_reports = select(DeviceReportRow.id).where(DeviceReportRow.received_at_s < before_s).limit(limit)
        bundle_reports = session.scalars(old_reports).all()
        session.execute(delete(DeviceReportRow).where(DeviceReportRow.id.in_(bundle_reports)))
        return len(old) + len(reports) + len(bundle_reports)
