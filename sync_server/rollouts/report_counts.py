"""Counts of devices by what they report of their bundles, added up in the transaction that stores the reports."""

from typing import Literal

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from edge_runtime.contract.reports import DeviceReport
from sync_server.database.tables.devices import DeviceReportRow
from sync_server.database.tables.rollouts import ReleaseLatency, RolloutReportCount
from sync_server.rollouts.day_counts import UnderWay, add_counts, under_way
from sync_server.rollouts.groups import side_of
from sync_server.statistics.confidence_sequences import RatioSums

REACHED = "reached"
"""The kind of report count for devices that have installed the release or failed to; kinds of reports are the others."""
FAILURES = ("install_failed", "proof_failed", "crashed")
_REACHING = ("installed", *FAILURES)
OWN_DISK = "StorageError"
"""The device's error when its disk is full or read-only: no fault of a release."""
SLOWEST_MS = 1_000.0
"""Longer times count as this time, so that one device with a full disk does not decide."""

CountedSide = Literal["offered", "new", "old"]
"""All devices that the rollout has offered its release; and, among the compared ones, those of the two sides."""


def count_report(session: Session, device_id: str, report: DeviceReport) -> None:
    """Add a new report to the counts of its channel's rollout and of its release, once for each device and kind.

    Args:
        session: the transaction that stores the report, which holds the device's row locked.
        device_id: whose report.
        report: it is stored already, and was not known before.
    """
    if report.latency_ms is not None:
        _count_latency(session, device_id, report, report.latency_ms)
    for rollout in under_way(session.connection()):
        if rollout.channel != report.channel:
            continue
        rows: list[dict[str, object]] = [
            {"rollout_id": rollout.rollout_id, "side": side, "kind": kind, "devices": 1}
            for side, kind, like in _counted_as(rollout, device_id, report)
            if not _sent_before(session, device_id, report, *like)
        ]
        add_counts(session.connection(), RolloutReportCount, ("devices",), rows)


_Counted = tuple[CountedSide, str, tuple[ColumnElement[bool], ...]]


def _counted_as(rollout: UnderWay, device_id: str, report: DeviceReport) -> list[_Counted]:
    """Return the counts to which a report adds, and which reports of the device would have been counted there before."""
    row, side = DeviceReportRow, side_of(rollout.seed, device_id, rollout.share)
    own_disk = func.coalesce(row.error, "") == OWN_DISK
    of_kind = (row.kind == report.kind, ~own_disk)
    failed = report.kind in FAILURES and report.error != OWN_DISK
    found: list[_Counted] = []
    if report.reason == rollout.rollout_id and report.release == rollout.release:
        offered = (row.reason == rollout.rollout_id, row.release == rollout.release)
        if report.kind in _REACHING:
            reached = (*offered, row.kind.in_(_REACHING))
            found.append(("offered", REACHED, reached))
            if side == "new":
                found.append(("new", REACHED, reached))
        if failed:
            found.append(("offered", report.kind, (*offered, *of_kind)))
    elif side == "old" and failed:
        found.append(("old", report.kind, (*of_kind, row.received_at_s >= rollout.created_at_s)))
    return found


def _count_latency(session: Session, device_id: str, report: DeviceReport, latency_ms: float) -> None:
    row = DeviceReportRow
    if _sent_before(session, device_id, report, row.release == report.release, row.latency_ms.is_not(None)):
        return
    ms = min(latency_ms, SLOWEST_MS)
    names: dict[str, object] = {"channel": report.channel, "release": report.release}
    sums = {"devices": 1, "total_ms": ms, "squares_ms": ms * ms}
    add_counts(session.connection(), ReleaseLatency, tuple(sums), [names | sums])


def _sent_before(session: Session, device_id: str, report: DeviceReport, *like: ColumnElement[bool]) -> bool:
    row = DeviceReportRow
    others = (row.device_id == device_id, row.number != report.number, row.channel == report.channel)
    return session.scalar(select(row.id).where(*others, *like).limit(1)) is not None


def report_counts(session: Session, rollout_id: str) -> dict[tuple[str, str], int]:
    """Return how many devices of a rollout were counted, by (side, kind)."""
    query = select(RolloutReportCount).where(RolloutReportCount.rollout_id == rollout_id)
    return {(row.side, row.kind): row.devices for row in session.scalars(query)}


def latency_sums(session: Session, channel: str, release: int) -> RatioSums:
    """Return the sums over devices of the time that a golden query took them with a release, in milliseconds."""
    row = session.get(ReleaseLatency, (channel, release))
    if row is None:
        return RatioSums(0, 0.0, 0.0, 0.0, 0.0, 0.0)
    return RatioSums(row.devices, row.total_ms, float(row.devices), row.squares_ms, row.total_ms, float(row.devices))
