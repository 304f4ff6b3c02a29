"""What a rollout will be able to show in each of its stages, before it starts: the smallest loss of clicks."""

import math
from dataclasses import dataclass

import numpy as np
from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from edge_runtime.contract.cohort import BUCKETS
from edge_runtime.contract.events import IMPRESSION, SUCCESS_KINDS
from sync_server.database.tables.devices import DeviceBundle
from sync_server.database.tables.events import Event
from sync_server.rollouts.comparisons import EXPECTED_CHANGE
from sync_server.rollouts.daily_cap import DAY_S, Counted
from sync_server.rollouts.groups import compared_places
from sync_server.rollouts.guardrails import GUARDRAILS
from sync_server.rollouts.plan import RolloutPlan, share_of
from sync_server.statistics.stratified import Floats, cell_sums, visible_loss

SAMPLE_DEVICES = 200
"""Devices whose events are read: the variance between them is known to a tenth, and reading takes a fraction of a second."""
SAMPLE_DAYS = 7.0
"""A whole week, so that a weekend counts as much as it does."""


@dataclass(frozen=True)
class Traffic:
    """What devices of a channel show and click.

    Attributes:
        devices: of the channel.
        click_through: clicks by impressions.
        impressions: of a device in a day.
        between: variance of the click-through between devices, as a share of its square.
    """

    devices: int
    click_through: float
    impressions: float
    between: float

    def spread(self, days: float) -> float:
        """Return the variance of one device's click-through over so many days, as a share of its square."""
        return self.between + (1.0 - self.click_through) / (self.click_through * self.impressions * days)


@dataclass(frozen=True)
class StageSight:
    """What one stage can show.

    Attributes:
        share: of the fleet (0 … 1) that is offered the release.
        devices: in each of the two groups that are compared.
        visible_loss: the smallest loss of clicks that is found by the end of its shortest time in half of all cases, as
            a share of the clicks; infinite where nothing can be found.
    """

    share: float
    devices: int
    visible_loss: float


def traffic_of(session: Session, channel: str, *, now_s: float) -> Traffic | None:
    """Return the traffic of a channel's devices in the last days, from a sample of them; None when there is none."""
    members = select(DeviceBundle.device_id).where(DeviceBundle.channel == channel)
    total = session.scalar(select(func.count()).select_from(members.subquery())) or 0
    sample = list(session.scalars(members.order_by(DeviceBundle.device_id).limit(SAMPLE_DEVICES)))
    counts = _capped_counts(session, sample, since_s=now_s - SAMPLE_DAYS * DAY_S)
    sums = cell_sums(counts[:, 0], counts[:, 1])
    if not sums.ratio or not math.isfinite(sums.variance):
        return None
    impressions = sums.d / len(sample) / SAMPLE_DAYS
    of_one = sums.variance / sums.ratio**2 * len(sample)
    by_chance = (1.0 - sums.ratio) / (sums.ratio * impressions * SAMPLE_DAYS)
    return Traffic(total, sums.ratio, impressions, max(0.0, of_one - by_chance))


def _capped_counts(session: Session, devices: list[str], *, since_s: float) -> Floats:
    """Return clicks and impressions of each device as a rollout would count them: float64 [devices, 2]."""
    n = func.sum(case((Event.kind.in_(SUCCESS_KINDS), 1), else_=0))
    d = func.sum(case((Event.kind == IMPRESSION, 1), else_=0))
    # Both databases have floor(); a cast to an integer would round in PostgreSQL.
    day = func.floor(Event.received_at_s / float(DAY_S))
    sums: dict[str, tuple[int, int]] = {}
    for device_id, clicks, shown in session.execute(
        select(Event.device_id, n, d)
        .where(Event.device_id.in_(devices), Event.received_at_s >= since_s)
        .group_by(Event.device_id, day)
    ):
        of_day = Counted().plus(at_s=0.0, impressions=int(shown), clicks=int(clicks))
        before = sums.get(device_id, (0, 0))
        sums[device_id] = before[0] + of_day.counted_clicks, before[1] + of_day.counted_impressions
    return np.array(list(sums.values()), np.float64).reshape(-1, 2)


def sights(plan: RolloutPlan, traffic: Traffic) -> list[StageSight]:
    """Return what each stage of a plan can show."""
    days = plan.soak_hours / 24.0
    found = []
    for stage in range(len(plan.stages)):
        share = share_of(plan, stage)
        devices = round(traffic.devices * compared_places(share) / BUCKETS)
        loss = visible_loss(
            devices,
            spread=traffic.spread(days) if days else math.inf,
            days=days,
            alpha=plan.alpha / len(GUARDRAILS),
            expected=EXPECTED_CHANGE,
        )
        found.append(StageSight(share, devices, loss if loss < 1.0 else math.inf))
    return found
