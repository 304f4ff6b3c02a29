"""The number of devices with each bundle, by hour: one small row per bundle and hour, whatever the fleet's size."""

import threading
from collections import defaultdict
from dataclasses import dataclass, field

from sqlalchemy import delete, func, insert, select
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from edge_runtime.contract.errors import StorageError
from sync_server.database.engine import DatabaseService, read_session
from sync_server.database.tables.devices import Device, FleetHour

HOUR_S = 3_600
# A quarter of a year: longer than any rollout.
_KEPT_HOURS = 24 * 90
# A device that sent nothing for a week is probably switched off.
_SILENT_S = 7 * 86_400.0
UNKNOWN = "unknown"


@dataclass(frozen=True)
class VersionHistory:
    """Devices by bundle over time: `counts[bundle][place]` belongs to `hours_s[place]`; the bundle of most devices first."""

    hours_s: list[int]
    counts: dict[str, list[int]]


@dataclass
class _Due:
    hour_s: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class FleetHistory(DatabaseService):
    """The hours in one database."""

    _done: _Due = field(default_factory=_Due, repr=False)

    def record_if_due(self) -> bool:
        """Store the counts of this hour, unless a process has done so already; return whether they were stored.

        It costs almost nothing when nothing is due, so it may be called for every request.

        Raises:
            StorageError: the database cannot be written.
        """
        hour = int(self.clock_s()) // HOUR_S * HOUR_S
        if self._done.hour_s >= hour or not self._done.lock.acquire(blocking=False):
            return False
        try:
            self._done.hour_s = hour
            return self._record(hour)
        finally:
            self._done.lock.release()

    def _record(self, hour: int) -> bool:
        with read_session(self.engine) as session:
            if session.scalar(select(FleetHour.hour_s).where(FleetHour.hour_s == hour).limit(1)) is not None:
                return False
        counts = self.now()
        rows = [{"hour_s": hour, "bundle_id": name, "devices": many} for name, many in counts.items()]
        try:
            with Session(self.engine) as session, session.begin():
                session.execute(delete(FleetHour).where(FleetHour.hour_s < hour - _KEPT_HOURS * HOUR_S))
                if rows:
                    session.execute(insert(FleetHour), rows)
        except IntegrityError:
            # Another worker was faster; its rows have the same counts.
            return False
        except DBAPIError as error:
            raise StorageError(f"the server's database cannot be used: {type(error.orig).__name__}") from error
        return bool(rows)

    def now(self) -> dict[str, int]:
        """Return how many devices have which bundle: devices that are not revoked and sent feedback within seven days.

        Raises:
            StorageError: the database cannot be read.
        """
        query = (
            select(func.coalesce(Device.bundle_id, UNKNOWN), func.count())
            .where(Device.revoked_at_s.is_(None), Device.last_feedback_at_s >= self.clock_s() - _SILENT_S)
            .group_by(Device.bundle_id)
        )
        with read_session(self.engine) as session:
            return {str(name): int(many) for name, many in session.execute(query)}

    def versions(self, *, days: int = 14) -> VersionHistory:
        """Return the recorded hours of the last `days`, with the present as the last point.

        Raises:
            StorageError: the database cannot be read.
        """
        now = self.clock_s()
        by_hour: dict[int, dict[str, int]] = defaultdict(dict)
        query = select(FleetHour).where(FleetHour.hour_s >= int(now - days * 86_400)).order_by(FleetHour.hour_s)
        with read_session(self.engine) as session:
            for row in session.scalars(query):
                by_hour[row.hour_s][row.bundle_id] = row.devices
        by_hour[int(now)] = self.now()
        hours = sorted(by_hour)
        totals: dict[str, int] = defaultdict(int)
        for counts in by_hour.values():
            for name, many in counts.items():
                totals[name] += many
        names = sorted(totals, key=lambda name: (-totals[name], name))
        return VersionHistory(hours, {name: [by_hour[hour].get(name, 0) for hour in hours] for name in names})
