"""Deletion of events and reports that are older than `retention_days`.

A deleted event does not come back. The device's row has the number of its last deleted event, and events up to that number
count as duplicates when they are sent again (event_writer.py).
"""

from collections import defaultdict
from dataclasses import dataclass

from sqlalchemy import Engine, delete, select, update

from sync_server.database.engine import write_session
from sync_server.database.tables.counts import CountRow
from sync_server.database.tables.devices import Device, DeviceReportRow
from sync_server.database.tables.events import Event

# Few enough that feedback, which waits for this transaction, is not delayed noticeably.
_PART_ROWS = 5_000
# 5,000 rows a minute are 7 million a day, more than a fleet of thousands of devices sends.
_SWEEP_EVERY_S = 60.0
_DAY_S = 86_400.0


@dataclass
class Retention:
    """Deletes what is older than `days`, a part every minute while feedback arrives; one for each worker."""

    engine: Engine
    days: int
    _next_s: float = 0.0

    def sweep_if_due(self, now_s: float) -> int:
        """Delete a part of what is too old, when the last deletion was a minute ago; return the number of deleted rows.

        Raises:
            StorageError: the database cannot be written; nothing was removed.
        """
        if now_s < self._next_s:
            return 0
        self._next_s = now_s + _SWEEP_EVERY_S
        return sweep(self.engine, before_s=now_s - self.days * _DAY_S)


def sweep(engine: Engine, *, before_s: float, limit: int = _PART_ROWS) -> int:
    """Delete up to `limit` events and reports of each kind that arrived before `before_s`; return how many.

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
        # Every process locks devices in this order, so that no two wait for each other forever.
        for device_id, sequence in sorted(newest.items()):
            session.execute(
                update(Device)
                .where(Device.device_id == device_id, Device.forgotten_sequence < sequence)
                .values(forgotten_sequence=sequence)
            )
        session.execute(delete(Event).where(Event.id.in_([row.id for row in old])))
        deleted = len(old)
        for table in (CountRow, DeviceReportRow):
            reports = session.scalars(select(table.id).where(table.received_at_s < before_s).limit(limit)).all()
            session.execute(delete(table).where(table.id.in_(reports)))
            deleted += len(reports)
        return deleted
