"""The tables of devices: who may send, what each reports of its bundle, and how many had which bundle."""

from sqlalchemy import Double, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from sync_server.database.tables.base import Base, Big


class EnrollmentCode(Base):
    """A one-time code, by the SHA-256 of its text; `device_id` is set once a device has used it."""

    __tablename__ = "enrolment_codes"

    code_sha256: Mapped[str] = mapped_column(primary_key=True)
    created_at_s: Mapped[float] = mapped_column(Double)
    expires_at_s: Mapped[float] = mapped_column(Double)
    device_id: Mapped[str | None] = mapped_column(ForeignKey("devices.device_id"))


class EnrollmentKey(Base):
    """A secret with which many devices enroll, by its SHA-256; `minute` (since 1970) is the one that is counted."""

    __tablename__ = "enrollment_keys"

    key_id: Mapped[str] = mapped_column(primary_key=True)
    key_sha256: Mapped[str] = mapped_column(unique=True)
    label: Mapped[str]
    device_limit: Mapped[int]
    per_minute: Mapped[int]
    created_at_s: Mapped[float] = mapped_column(Double)
    expires_at_s: Mapped[float] = mapped_column(Double)
    revoked_at_s: Mapped[float | None] = mapped_column(Double)
    devices: Mapped[int] = mapped_column(default=0)
    minute: Mapped[int] = mapped_column(default=0)
    minute_devices: Mapped[int] = mapped_column(default=0)


class Device(Base):
    """An enrolled device; the server stores only the SHA-256 of its credential."""

    __tablename__ = "devices"

    device_id: Mapped[str] = mapped_column(primary_key=True)
    credential_sha256: Mapped[str] = mapped_column(unique=True)
    enrolled_at_s: Mapped[float] = mapped_column(Double)
    last_feedback_at_s: Mapped[float | None] = mapped_column(Double)
    privacy_level: Mapped[str | None]
    consented_at_s: Mapped[float | None] = mapped_column(Double)
    # Events up to this number were erased or expired. When they are sent again, they count as duplicates.
    forgotten_sequence: Mapped[int] = mapped_column(Big, default=0, server_default="0")
    revoked_at_s: Mapped[float | None] = mapped_column(Double)
    # What it has sent on the day `quota_day` since 1970 (events/daily_quota.py).
    quota_day: Mapped[int] = mapped_column(Big, default=0, server_default="0")
    quota_bytes: Mapped[int] = mapped_column(Big, default=0, server_default="0")
    quota_events: Mapped[int] = mapped_column(Big, default=0, server_default="0")
    # What rollouts count of the day `counted_day` (rollouts/daily_cap.py).
    counted_day: Mapped[int] = mapped_column(Big, default=0, server_default="0")
    counted_impressions: Mapped[int] = mapped_column(Big, default=0, server_default="0")
    counted_clicks: Mapped[int] = mapped_column(Big, default=0, server_default="0")
    # The bundle of its newest feedback or report.
    bundle_id: Mapped[str | None]


class DeviceReportRow(Base):
    """A device's report. `(device_id, number)` is unique, so a report that is sent twice is stored once."""

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
    variant: Mapped[str | None] = mapped_column("arm", key="variant")
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
    variant: Mapped[str | None] = mapped_column("arm", key="variant")
    since_s: Mapped[float] = mapped_column(Double)


class FleetHour(Base):
    """How many devices had a bundle in one hour (seconds since 1970, full hours), for the console's chart."""

    __tablename__ = "fleet_hours"

    hour_s: Mapped[int] = mapped_column(Big, primary_key=True, autoincrement=False)
    bundle_id: Mapped[str] = mapped_column(primary_key=True)
    devices: Mapped[int]
