"""The counts from events and reports by which rollouts and experiments are judged."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Integer, case, cast, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from edge_runtime.contract.events import IMPRESSION, SUCCESS_KINDS
from sync_server.database.tables.devices import DeviceReportRow
from sync_server.database.tables.events import Event
from sync_server.database.tables.rollouts import RolloutRow
from sync_server.rollouts.day_counts import OWN_DISK, REACHED, day_counts, report_counts
from sync_server.statistics.confidence_sequences import RatioSums
from sync_server.statistics.stratified import stratified_sums

NOTHING = RatioSums(0, 0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Sides:
    """Sums over the devices that are offered the rollout's release (`new`) and over those that are not (`old`).

    `devices` is how many the smaller side has where the sums are over cells of devices, not over devices.
    """

    new: RatioSums
    old: RatioSums = NOTHING
    devices: int = 0


def devices_reached(session: Session, rollout: RolloutRow) -> int:
    """Return how many devices have reported that they installed the rollout's release or failed to."""
    return session.scalar(select(_DEVICES).where(*_reached(rollout))) or 0


def report_share(kind: str) -> Callable[[Session, RolloutRow], Sides]:
    """Return a function that counts the reached devices with a report of this kind, among all reached devices.

    The old side is that of the compared devices, which are as many as the new side's. An installation that failed because
    the device's own disk is full does not count.
    """

    def count(session: Session, rollout: RolloutRow) -> Sides:
        failed = (DeviceReportRow.kind == kind) & (func.coalesce(DeviceReportRow.error, "") != OWN_DISK)
        of_kind = func.count(func.distinct(case((failed, DeviceReportRow.device_id))))
        yes, of = session.execute(select(of_kind, _DEVICES).where(*_reached(rollout))).one()
        counted = report_counts(session, rollout.rollout_id)
        compared = counted.get(("new", REACHED), 0)
        # A device of the old side may fail before the first one of the new side has installed anything.
        old_yes = min(counted.get(("old", kind), 0), compared)
        return Sides(share_sums(yes, of), share_sums(old_yes, compared))

    return count


def share_sums(yes: int, of: int) -> RatioSums:
    """Return the sums of a share: `yes` of `of` devices."""
    return RatioSums(of, yes, of, yes, yes, of)


def report_mean(
    column: InstrumentedAttribute[float | None], *, at_most: float
) -> Callable[[Session, RolloutRow], Sides]:
    """Return a function that averages a reported number for each device; larger values count as `at_most`."""

    def count(session: Session, rollout: RolloutRow) -> Sides:
        base = (DeviceReportRow.channel == rollout.channel, DeviceReportRow.release == rollout.base_release)
        return Sides(
            _mean_sums(session, column, at_most, *_reached(rollout)), _mean_sums(session, column, at_most, *base)
        )

    return count


def clicks_by_impressions(session: Session, rollout: RolloutRow) -> Sides:
    """Return clicks and impressions of both sides, stratified by day; nothing when both releases are one bundle."""
    if rollout.bundle_id == rollout.base_bundle_id:
        return Sides(NOTHING)
    counts = day_counts(session, rollout.rollout_id)
    return Sides(*stratified_sums(counts.clicks, counts.impressions), counts.devices)


_DEVICES = func.count(func.distinct(DeviceReportRow.device_id))


def _reached(rollout: RolloutRow) -> tuple[ColumnElement[bool], ...]:
    return (
        DeviceReportRow.reason == rollout.rollout_id,
        DeviceReportRow.channel == rollout.channel,
        DeviceReportRow.release == rollout.release,
    )


def click_sums(
    session: Session, group: InstrumentedAttribute[str] | InstrumentedAttribute[str | None], *where: ColumnElement[bool]
) -> dict[str, RatioSums]:
    """Return clicks and impressions for each value of the column `group`, summed over devices."""
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


def _mean_sums(
    session: Session, column: InstrumentedAttribute[float | None], at_most: float, *where: ColumnElement[bool]
) -> RatioSums:
    mean = func.avg(case((column > at_most, at_most), else_=column)).label("mean")
    by_device = (
        select(DeviceReportRow.device_id, mean)
        .where(column.is_not(None), *where)
        .group_by(DeviceReportRow.device_id)
        .subquery()
    )
    value = by_device.c.mean
    count, total, squares = session.execute(select(func.count(), func.sum(value), func.sum(value * value))).one()
    if not count:
        return NOTHING
    return RatioSums(int(count), float(total), float(count), float(squares), float(total), float(count))


def assigned(session: Session, experiment_id: str, variants: Sequence[str]) -> list[int]:
    """Return how many devices took part in each of an experiment's variants, by their reports."""
    rows = session.execute(
        select(DeviceReportRow.variant, func.count(func.distinct(DeviceReportRow.device_id)))
        .where(DeviceReportRow.reason == experiment_id)
        .group_by(DeviceReportRow.variant)
    )
    counts = {variant: int(count) for variant, count in rows}
    return [counts.get(variant, 0) for variant in variants]


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
