"""Clicks and impressions of a rollout's two groups, added up in the transaction that stores the events.

Their number of rows depends on days, stages and cells, not on events, so that judging takes the same time in every fleet.
Days are those of arrival: a wrong clock of a device decides nothing.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from sync_server.database.engine import is_postgresql
from sync_server.database.tables.base import Base
from sync_server.database.tables.devices import DeviceBundle
from sync_server.database.tables.rollouts import RolloutDay, RolloutRow
from sync_server.rollouts.daily_cap import DAY_S, Counted
from sync_server.rollouts.groups import CELLS, SIDES, cell_of, side_of
from sync_server.rollouts.plan import decode_plan, share_of
from sync_server.statistics.stratified import Floats


class StoredEvents(NamedTuple):
    """What is new in a device's batch.

    Attributes:
        device_id: whose batch.
        at_s: when it arrived.
        last_feedback_at_s: when the device's batch before arrived; None for the first.
        earlier: what the device had counted before it.
        counted: what it has counted with it.
    """

    device_id: str
    at_s: float
    last_feedback_at_s: float | None
    earlier: Counted
    counted: Counted

    @property
    def impressions(self) -> int:
        """New impressions, up to the day's cap."""
        return self.counted.counted_impressions - self._today.counted_impressions

    @property
    def clicks(self) -> int:
        """New events of the kinds that count as success, up to the day's cap."""
        return self.counted.counted_clicks - self._today.counted_clicks

    @property
    def _today(self) -> Counted:
        return self.earlier if self.earlier.counted_day == self.counted.counted_day else Counted()


@dataclass(frozen=True)
class UnderWay:
    """What counting needs to know of a rollout that runs or is paused; `share` is that of its stage."""

    rollout_id: str
    release: int
    seed: str
    channel: str
    stage: int
    share: float
    stage_started_at_s: float
    created_at_s: float


def under_way(connection: Connection) -> list[UnderWay]:
    """Return the rollouts that run or are paused."""
    query = select(
        RolloutRow.rollout_id,
        RolloutRow.release,
        RolloutRow.seed,
        RolloutRow.channel,
        RolloutRow.stage,
        RolloutRow.plan,
        RolloutRow.stage_started_at_s,
        RolloutRow.created_at_s,
    ).where(RolloutRow.state.in_(("running", "paused")))
    return [
        UnderWay(
            row.rollout_id,
            row.release,
            row.seed,
            row.channel,
            row.stage,
            share_of(decode_plan(row.plan), row.stage),
            row.stage_started_at_s,
            row.created_at_s,
        )
        for row in connection.execute(query)
    ]


def count_events(connection: Connection, batches: Sequence[StoredEvents]) -> None:
    """Add new events to the counts of the rollouts under way.

    A device counts for the channel that it has reported. One that has reported none counts in every rollout: both sides
    have equally many of them.

    Args:
        connection: the transaction that stores the events.
        batches: of different devices.
    """
    rollouts = under_way(connection)
    if not rollouts:
        return
    known = select(DeviceBundle.device_id, DeviceBundle.channel).where(
        DeviceBundle.device_id.in_([batch.device_id for batch in batches])
    )
    channels = {row.device_id: row.channel for row in connection.execute(known)}
    sums: dict[tuple[str, int, int, str, int], Counter[str]] = {}
    for rollout in rollouts:
        for batch in batches:
            side = side_of(rollout.seed, batch.device_id, rollout.share)
            if side is None or channels.get(batch.device_id, rollout.channel) != rollout.channel:
                continue
            day = int(batch.at_s // DAY_S)
            began_s = max(day * DAY_S, rollout.stage_started_at_s)
            is_first = batch.last_feedback_at_s is None or batch.last_feedback_at_s < began_s
            key = (rollout.rollout_id, rollout.stage, day, side, cell_of(rollout.seed, batch.device_id))
            sums.setdefault(key, Counter()).update(
                devices=int(is_first), impressions=batch.impressions, clicks=batch.clicks
            )
    names = [column.name for column in RolloutDay.__table__.primary_key]
    # Every process locks the rows in this order, so that no two wait for each other forever.
    rows = [{**dict(zip(names, key, strict=True)), **sums[key]} for key in sorted(sums)]
    add_counts(connection, RolloutDay, ("devices", "impressions", "clicks"), rows)


def add_counts(
    connection: Connection, table: type[Base], counts: tuple[str, ...], rows: list[dict[str, object]]
) -> None:
    """Add the columns `counts` of each row to those of the row with the same key, which is made when missing."""
    if not rows:
        return
    insert = (postgresql if is_postgresql(connection) else sqlite).insert(table)
    columns = table.__table__.c
    more = {name: columns[name] + insert.excluded[name] for name in counts}
    keys = list(table.__table__.primary_key)
    connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=more), rows)


@dataclass(frozen=True)
class DayCounts:
    """Clicks and impressions of a rollout's two sides.

    Attributes:
        clicks: float64 [strata, 2, CELLS]; a stratum is a day of a stage, the sides are in the order of SIDES.
        impressions: likewise.
        devices: of the smaller side on its busiest day.
    """

    clicks: Floats
    impressions: Floats
    devices: int


def day_counts(session: Session, rollout_id: str) -> DayCounts:
    """Return the counts of a rollout."""
    day = RolloutDay
    columns = (day.stage, day.day, day.side, day.cell, day.devices, day.impressions, day.clicks)
    rows = session.execute(select(*columns).where(day.rollout_id == rollout_id)).all()
    # Column by column: a rollout of two months has 15,000 rows.
    stages, days, sides, cells, *values = zip(*rows, strict=True) if rows else ((),) * len(columns)
    of_rows = list(zip(stages, days, strict=True))
    strata = {stratum: place for place, stratum in enumerate(sorted(set(of_rows)))}
    counts = np.zeros((3, len(strata), len(SIDES), CELLS))
    at = [[strata[stratum] for stratum in of_rows], [SIDES.index(side) for side in sides], list(cells)]
    counts[:, *np.array(at, np.intp)] = values
    devices_by_side = counts[0].sum(axis=2)
    most = int(devices_by_side.max(axis=0).min()) if strata else 0
    return DayCounts(clicks=counts[2], impressions=counts[1], devices=most)
