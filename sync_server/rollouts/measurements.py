"""The counts that rollouts and experiments are judged by, from events and reports."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Integer, case, cast, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from edge_runtime.contract.events import IMPRESSION, SUCCESS_KINDS
from sync_server.database.tables.devices import DeviceReportRow
from sync_server.database.tables.events import Event
from sync_server.database.tables.rollouts import RolloutRow
from sync_server.rollouts.guardrails import FAILURES, Measured
from sync_server.statistics.confidence_sequences import RatioSums

NOTHING = RatioSums(0, 0.0, 0.0, 0.0, 0.0, 0.0)
_SLOWEST_MS = 1_000.0
"""Longer times count as this much: one device with a full disk must not decide."""


def measured(session: Session, rollout: RolloutRow) -> Measured:
    """Return what is known of a rollout's release and of the one before it, since the rollout began."""
    reached = (
        DeviceReportRow.reason == rollout.rollout_id,
        DeviceReportRow.channel == rollout.channel,
        DeviceReportRow.release == rollout.release,
    )
    devices = func.count(func.distinct(DeviceReportRow.device_id))
    by_kind = session.execute(select(DeviceReportRow.kind, devices).where(*reached).group_by(DeviceReportRow.kind))
    kinds = {kind: count for kind, count in by_kind}  # noqa: C416  (rows are no plain tuples)
    same = rollout.bundle_id == rollout.base_bundle_id
    clicks = {} if same else click_sums(
        session,
        Event.bundle_id,
        Event.bundle_id.in_([rollout.bundle_id, rollout.base_bundle_id]),
        Event.received_at_s >= rollout.created_at_s,
    )  # fmt: skip
    return Measured(
        devices=session.scalar(select(devices).where(*reached)) or 0,
        failures={kind: kinds.get(kind, 0) for kind in FAILURES},
        clicks=clicks.get(rollout.bundle_id, NOTHING),
        control_clicks=clicks.get(rollout.base_bundle_id, NOTHING),
        latency=_latency(session, *reached),
        control_latency=_latency(
            session, DeviceReportRow.channel == rollout.channel, DeviceReportRow.release == rollout.base_release
        ),
    )


def click_sums(
    session: Session, group: InstrumentedAttribute[str] | InstrumentedAttribute[str | None], *where: ColumnElement[bool]
) -> dict[str, RatioSums]:
    """Return clicks by impressions for each value of the column `group`, summed over devices."""
    n = func.sum(case((Event.kind.in_(SUCCESS_KINDS), 1), else_=0))
    d = func.sum(case((Event.kind == IMPRESSION, 1), else_=0))
    by_device = (
        select(group.label("part"), Event.device_id, cast(n, Integer).label("n"), cast(d, Integer).label("d"))
        .where(Event.kind.in_([*SUCCESS_KINDS, IMPRESSION]), *where)
        .group_by(group, Event.device_id)
        .subquery()
    )
    c = by_device.c
    sums = [func.sum(value) for value in (c.n, c.d, c.n * c.n, c.n * c.d, c.d * c.d)]
    query = select(c.part, func.count()).add_columns(*sums).where(c.d > 0).group_by(c.part)
    rows = session.execute(query).all()
    return {str(row[0]): RatioSums(int(row[1]), *(float(value) for value in row[2:])) for row in rows}


def _latency(session: Session, *where: ColumnElement[bool]) -> RatioSums:
    ms = func.avg(case((DeviceReportRow.latency_ms > _SLOWEST_MS, _SLOWEST_MS), else_=DeviceReportRow.latency_ms))
    by_device = (
        select(DeviceReportRow.device_id, ms.label("ms"))
        .where(DeviceReportRow.latency_ms.is_not(None), *where)
        .group_by(DeviceReportRow.device_id)
        .subquery()
    )
    value = by_device.c.ms
    row = session.execute(select(func.count(), func.sum(value), func.sum(value * value))).one()
    count, total, squares = row[0], row[1], row[2]
    if not count:
        return NOTHING
    return RatioSums(int(count), float(total), float(count), float(squares), float(total), float(count))


def assigned(session: Session, experiment_id: str, arms: Sequence[str]) -> list[int]:
    """Return how many devices took part in each of an experiment's variants, by their reports."""
    rows = session.execute(
        select(DeviceReportRow.arm, func.count(func.distinct(DeviceReportRow.device_id)))
        .where(DeviceReportRow.reason == experiment_id)
        .group_by(DeviceReportRow.arm)
    )
    counts = {arm: int(count) for arm, count in rows}
    return [counts.get(arm, 0) for arm in arms]


def team_wins(session: Session, experiment_id: str) -> tuple[int, int, int]:
    """Return on how many devices team a, team b and neither of an interleaved experiment got more clicks."""
    a, b = (
        func.sum(case((Event.kind.in_(SUCCESS_KINDS) & (Event.team == team), 1), else_=0)).label(team)
        for team in ("a", "b")
    )
    by_device = (
        select(a, b).where(Event.experiment == experiment_id, Event.team.is_not(None)).group_by(Event.device_id)
    ).subquery()
    wins = [
        func.sum(case((better, 1), else_=0))
        for better in (by_device.c.a > by_device.c.b, by_device.c.a < by_device.c.b, by_device.c.a == by_device.c.b)
    ]
    row = session.execute(select(wins[0], wins[1], wins[2])).one()
    return int(row[0] or 0), int(row[1] or 0), int(row[2] or 0)
