"""The tables of rollouts and experiments."""

from sqlalchemy import Double, ForeignKey, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from sync_server.database.tables.base import Base, Big

_UNDER_WAY = text("state IN ('running', 'paused')")


class RolloutRow(Base):
    """A release on its way to a channel; `plan` and `guardrails` are JSON, the latter as they were judged last."""

    __tablename__ = "rollouts"
    __table_args__ = (
        Index("rollouts_by_channel", "channel", "created_at_s"),
        Index("one_rollout_under_way", "channel", unique=True, postgresql_where=_UNDER_WAY, sqlite_where=_UNDER_WAY),
    )

    rollout_id: Mapped[str] = mapped_column(primary_key=True)
    channel: Mapped[str]
    release: Mapped[int]
    bundle_id: Mapped[str]
    base_release: Mapped[int]
    base_bundle_id: Mapped[str]
    seed: Mapped[str]
    plan: Mapped[str] = mapped_column(Text)
    state: Mapped[str]
    stage: Mapped[int]
    stage_started_at_s: Mapped[float] = mapped_column(Double)
    created_at_s: Mapped[float] = mapped_column(Double)
    ended_at_s: Mapped[float | None] = mapped_column(Double)
    judged_at_s: Mapped[float] = mapped_column(Double)
    reason: Mapped[str] = mapped_column(Text)
    guardrails: Mapped[str] = mapped_column(Text)


class RolloutStep(Base):
    """What happened to a rollout, for its history: each change of state or stage, and the guardrails behind it."""

    __tablename__ = "rollout_steps"

    id: Mapped[int] = mapped_column(Big, primary_key=True)
    rollout_id: Mapped[str] = mapped_column(ForeignKey("rollouts.rollout_id"), index=True)
    at_s: Mapped[float] = mapped_column(Double)
    action: Mapped[str]
    actor: Mapped[str]
    reason: Mapped[str] = mapped_column(Text)
    stage: Mapped[int]
    devices: Mapped[int]
    guardrails: Mapped[str] = mapped_column(Text)


class ExperimentRow(Base):
    """Variants of a channel's bundle that are compared; `arms` is JSON."""

    __tablename__ = "experiments"
    __table_args__ = (Index("experiments_by_channel", "channel", "created_at_s"),)

    experiment_id: Mapped[str] = mapped_column(primary_key=True)
    channel: Mapped[str]
    name: Mapped[str]
    seed: Mapped[str]
    arms: Mapped[str] = mapped_column(Text)
    state: Mapped[str]
    created_at_s: Mapped[float] = mapped_column(Double)
    ended_at_s: Mapped[float | None] = mapped_column(Double)


class GuardrailPoint(Base):
    """What a guardrail of a rollout said at one time; a bound that is not known yet is null."""

    __tablename__ = "guardrail_points"

    rollout_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    at_s: Mapped[float] = mapped_column(Double, primary_key=True)
    estimate: Mapped[float] = mapped_column(Double)
    lower: Mapped[float | None] = mapped_column(Double)
    upper: Mapped[float | None] = mapped_column(Double)


class RolloutDay(Base):
    """What the compared devices of a rollout did on one day of one stage, summed as their events arrive.

    `side` is "new" or "old"; a device always falls in the same `cell` of its side. `day` counts days since 1970.
    """

    __tablename__ = "rollout_days"

    rollout_id: Mapped[str] = mapped_column(primary_key=True)
    stage: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    day: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    side: Mapped[str] = mapped_column(primary_key=True)
    cell: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    devices: Mapped[int]
    impressions: Mapped[int] = mapped_column(Big)
    clicks: Mapped[int] = mapped_column(Big)


class RolloutReportCount(Base):
    """How many devices of a rollout have sent a report of one kind since it began.

    `side` is "offered" for all that the release was offered to, "new" and "old" for the compared ones.
    """

    __tablename__ = "rollout_report_counts"

    rollout_id: Mapped[str] = mapped_column(primary_key=True)
    side: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    devices: Mapped[int]


class ReleaseLatency(Base):
    """Sums over the devices that have measured a golden query with a release, each by its first measurement."""

    __tablename__ = "release_latencies"

    channel: Mapped[str] = mapped_column(primary_key=True)
    release: Mapped[int] = mapped_column(Big, primary_key=True, autoincrement=False)
    devices: Mapped[int]
    total_ms: Mapped[float] = mapped_column(Double)
    squares_ms: Mapped[float] = mapped_column(Double)
