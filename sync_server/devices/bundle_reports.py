"""Devices' reports about their bundles, each stored once, and which release every device has."""

import itertools
from dataclasses import dataclass, field

import msgspec
from sqlalchemy import delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from edge_runtime.contract.errors import EventRejectedError
from edge_runtime.contract.reports import ReportBatch, ReportReceipt, check_report
from sync_server.database.engine import DatabaseService, read_session, struct_of, write_session
from sync_server.database.tables.devices import DeviceBundle, DeviceReportRow
from sync_server.errors import RequestError
from sync_server.events.daily_quota import DailyQuota
from sync_server.rollouts.report_counts import count_report

_HOLDS = {"installed", "went_back"}
"""Kinds of reports after which the device has the reported release."""


class ReleaseCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many devices have a release, by what they reported last."""

    channel: str
    release: int
    bundle_id: str
    devices: int


@dataclass(frozen=True)
class DeviceReports(DatabaseService):
    """The reports of a fleet in its database.

    Args:
        quota: how much one device may send in a day.
    """

    quota: DailyQuota = field(default_factory=DailyQuota)

    def store(self, batch: ReportBatch, *, size_bytes: int = 0) -> ReportReceipt:
        """Store a batch in one transaction; reports that are stored already stay as they are.

        Args:
            batch: reports of an enrolled device, whose identity the caller has checked.
            size_bytes: length of the body that they came in.

        Raises:
            RequestError: no reports, numbers that do not rise, a report that breaks the contract, or a device that is over
                its quota.
            StorageError: the database cannot be written; nothing of the batch is stored.
        """
        numbers = [report.number for report in batch.reports]
        if not numbers or any(left >= right for left, right in itertools.pairwise(numbers)):
            raise RequestError("expected reports with rising numbers; nothing was stored", status_code=400)
        try:
            for report in batch.reports:
                check_report(report)
        except EventRejectedError as error:
            raise RequestError(f"report {report.number}: {error}; nothing was stored", status_code=400) from error
        now = self.clock_s()
        rows = [
            {**msgspec.structs.asdict(report), "device_id": batch.device_id, "received_at_s": now}
            for report in batch.reports
        ]
        dialect = postgresql if self.engine.dialect.name == "postgresql" else sqlite
        with write_session(self.engine) as session:
            self.quota.charge(session, batch.device_id, at_s=now, size_bytes=size_bytes, events=len(rows))
            new = 0
            for report, row in zip(batch.reports, rows, strict=True):
                unless_known = dialect.insert(DeviceReportRow).values(row).on_conflict_do_nothing()
                inserted = session.execute(unless_known.returning(DeviceReportRow.id)).first() is not None
                new += inserted
                if inserted:
                    count_report(session, batch.device_id, report)
                if inserted and row["kind"] in _HOLDS:
                    names = ("device_id", "channel", "release", "bundle_id", "reason", "variant")
                    held = {name: row[name] for name in names} | {"since_s": now}
                    put = dialect.insert(DeviceBundle).values(held)
                    session.execute(put.on_conflict_do_update(index_elements=["device_id"], set_=held))
        return ReportReceipt(acknowledged=numbers[-1], stored=new)

    def releases(self) -> list[ReleaseCount]:
        """Return how many devices have each release, newest release first within a channel."""
        query = (
            select(DeviceBundle.channel, DeviceBundle.release, DeviceBundle.bundle_id, func.count().label("devices"))
            .group_by(DeviceBundle.channel, DeviceBundle.release, DeviceBundle.bundle_id)
            .order_by(DeviceBundle.channel, DeviceBundle.release.desc())
        )
        with read_session(self.engine) as session:
            return [struct_of(row, ReleaseCount) for row in session.execute(query)]

    def held_by(self, device_ids: list[str]) -> dict[str, ReleaseCount]:
        """Return what each of the devices has, for those that have reported (`devices` is 1)."""
        query = select(DeviceBundle).where(DeviceBundle.device_id.in_(device_ids))
        with read_session(self.engine) as session:
            return {row.device_id: struct_of(row, ReleaseCount, devices=1) for row in session.scalars(query)}

    def installed_by_day(self, channel: str) -> list[tuple[int, int, int]]:
        """Return (days since 1970, release, devices that installed it on that day), oldest first."""
        # Both databases have floor(); a cast to an integer would round in PostgreSQL.
        seconds = func.floor(DeviceReportRow.received_at_s / 86_400.0)
        query = (
            select(seconds, DeviceReportRow.release, func.count(func.distinct(DeviceReportRow.device_id)))
            .where(DeviceReportRow.channel == channel, DeviceReportRow.kind.in_(_HOLDS))
            .group_by(seconds, DeviceReportRow.release)
            .order_by(seconds, DeviceReportRow.release)
        )
        with read_session(self.engine) as session:
            return [(int(day), release, count) for day, release, count in session.execute(query)]

    def forget(self, device_id: str) -> int:
        """Erase what a device has reported; return how many reports that were.

        Raises:
            StorageError: the database cannot be written.
        """
        with write_session(self.engine) as session:
            session.execute(delete(DeviceBundle).where(DeviceBundle.device_id == device_id))
            gone = delete(DeviceReportRow).where(DeviceReportRow.device_id == device_id)
            return len(session.execute(gone.returning(DeviceReportRow.id)).all())
