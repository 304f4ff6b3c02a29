"""The counts from events and reports by which rollouts and experiments are judged."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Integer, case, cast, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from edge_runtime.contract.events import IMPRESSION, SUCCESS_KINDS
from sync_server.database.tables.devices import DeviceReportRow
from sync_server.database.tables.events import Event
from sync_server.database.tables.rollouts import RolloutRow
from sync_server.rollouts.day_counts import day_counts
from sync_server.rollouts.report_counts import REACHED, latency_sums, report_counts
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
    return report_counts(session, rollout.rollout_id).get(("offered", REACHED), 0)


def report_share(kind: str) -> Callable[[Session, RolloutRow], Sides]:
    """Return a function that counts the reached devices with a report of this kind, among all reached devices.

    The old side is that of the compared devices, which are as many as the new side's. An installation that failed because
    the device's own disk is full does not count.
    """

    def count(session: Session, rollout: RolloutRow) -> Sides:
        counted = report_counts(session, rollout.rollout_id)
        reached, compared = (counted.get((side, REACHED), 0) for side in ("offered", "new"))
        # A device of the old side may fail before the first one of the new side has installed anything.
        old_yes = min(counted.get(("old", kind), 0), compared)
        return Sides(share_sums(counted.get(("offered", kind), 0), reached), share_sums(old_yes, compared))

    return count


def share_sums(yes: int, of: int) -> RatioSums:
    """Return the sums of a share: `yes` of `of` devices."""
    return RatioSums(of, yes, of, yes, yes, of)


def latency(session: Session, rollout: RolloutRow) -> Sides:
    """Return the sums of the times that a golden query took the devices of both releases."""
    new = latency_sums(session, rollout.channel, rollout.release)
    return Sides(new, latency_sums(session, rollout.channel, rollout.base_release))


def clicks_by_impressions(session: Session, rollout: RolloutRow) -> Sides:
    """Return clicks and impressions of both sides, stratified by day; nothing when both releases are one bundle."""
    if rollout.bundle_id == rollout.base_bundle_id:
        return Sides(NOTHING)
    counts = day_counts(session, rollout.rollout_id)
    return Sides(*stratified_sums(counts.clicks, counts.impressions), counts.devices)


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
