"""The table of feedback events."""

from sqlalchemy import Double, Index, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from sync_server.database.tables.base import Base, Big


class Event(Base):
    """A feedback event. `(device_id, sequence)` is unique, so an event that is sent twice is stored once."""

    __tablename__ = "events"
    __table_args__ = (
        UniqueConstraint("device_id", "sequence", name="one_event_per_sequence"),
        Index("events_by_bundle", "bundle_id", "kind"),
        Index("events_by_arrival", "received_at_s"),
    )

    id: Mapped[int] = mapped_column(Big, primary_key=True)
    # No foreign key: its check takes longer than the insertion itself. event_writer.py locks the device's row instead.
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
