"""The tables of rollouts, experiments and what devices report of their bundles."""

from sqlalchemy import Double, ForeignKey, Index, Text, UniqueConstraint, text
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


class DeviceReportRow(Base):
    """A device's report. `(device_id, number)` is unique: that is what makes sending it twice harmless."""

    __tablename__ = "device_reports"
    __table_args__ = (
        UniqueConstraint("device_id", "number", name="one_report_per_number"),
        Index("device_reports_by_release", "channel", "release", "kind"),
        Index("device_reports_by_reason", "reason"),
        Index("device_reports_by_arrival", "received_at_s"),
    )

    id: Mapped[int] = mapped_column(Big, primary_key=True)
    device_id: Mapped[str]
    number: Mapped[int] = mapped_column(Big)
    kind: Mapped[str]
    channel: Mapped[str]
    release: Mapped[int] = mapped_column(Big)
    bundle_id: Mapped[str]
    reason: Mapped[str | None]
    arm: Mapped[str | None]
    latency_ms: Mapped[float | None] = mapped_column(Double)
    error: Mapped[str | None]
    timestamp_s: Mapped[float] = mapped_column(Double)
    received_at_s: Mapped[float] = mapped_column(Double)


class DeviceBundle(Base):
    """Which release a device has, as it reported last."""

    __tablename__ = "device_bundles"
    __table_args__ = (Index("device_bundles_by_release", "channel", "release"),)

    device_id: Mapped[str] = mapped_column(primary_key=True)
    channel: Mapped[str]
    release: Mapped[int] = mapped_column(Big)
    bundle_id: Mapped[str]
    reason: Mapped[str | None]
    arm: Mapped[str | None]
    since_s: Mapped[float] = mapped_column(Double)
