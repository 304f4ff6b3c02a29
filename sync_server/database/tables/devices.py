"""The server's tables of devices and events. Tables of other subjects lie in modules of their own, imported here."""

from sqlalchemy import Double, ForeignKey, Index, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from sync_server.database.tables import operators as operators
from sync_server.database.tables import rollouts as rollouts
from sync_server.database.tables.base import Base as Base
from sync_server.database.tables.base import Big
from sync_server.database.tables.counts import CountRow as CountRow


class EnrolmentCode(Base):
    """A one-time code, by the SHA-256 of its text; `device_id` is set once a device has used it."""

    __tablename__ = "enrolment_codes"

    code_sha256: Mapped[str] = mapped_column(primary_key=True)
    created_at_s: Mapped[float] = mapped_column(Double)
    expires_at_s: Mapped[float] = mapped_column(Double)
    device_id: Mapped[str | None] = mapped_column(ForeignKey("devices.device_id"))


class Device(Base):
    """An enrolled device; its credential is known here by SHA-256 only."""

    __tablename__ = "devices"

    device_id: Mapped[str] = mapped_column(primary_key=True)
    credential_sha256: Mapped[str] = mapped_column(unique=True)
    enrolled_at_s: Mapped[float] = mapped_column(Double)
    last_feedback_at_s: Mapped[float | None] = mapped_column(Double)
    privacy_level: Mapped[str | None]
    consented_at_s: Mapped[float | None] = mapped_column(Double)
    # Events up to this number were erased or ran out: sent again, they are duplicates and stay away.
    forgotten_sequence: Mapped[int] = mapped_column(Big, default=0, server_default="0")
    revoked_at_s: Mapped[float | None] = mapped_column(Double)
    # The bundle of its newest feedback or report.
    bundle_id: Mapped[str | None]


class Event(Base):
    """A feedback event. `(device_id, sequence)` is unique: that is what makes sending it twice harmless."""

    __tablename__ = "events"
    __table_args__ = (
        UniqueConstraint("device_id", "sequence", name="one_event_per_sequence"),
        Index("events_by_bundle", "bundle_id", "kind"),
        Index("events_by_arrival", "received_at_s"),
    )

    id: Mapped[int] = mapped_column(Big, primary_key=True)
    # No foreign key: its check costs more than the event. event_writer.py locks the device's row instead.
    device_id: Mapped[str]
    sequence: Mapped[int] = mapped_column(Big)
    kind: Mapped[str]
    product_id: Mapped[str]
    bundle_id: Mapped[str]
    timestamp_s: Mapped[float] = mapped_column(Double)
    position: Mapped[int | None]
    rank: Mapped[int | None]
    propensity: Mapped[float | None] = mapped_column(Double)
    page_propensity: Mapped[float | None] = mapped_column(Double)
    list_id: Mapped[str | None]
    experiment: Mapped[str | None]
    variant: Mapped[str | None]
    team: Mapped[str | None]
    query: Mapped[str | None] = mapped_column(Text)
    received_at_s: Mapped[float] = mapped_column(Double)
