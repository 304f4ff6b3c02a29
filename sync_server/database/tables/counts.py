"""The table of reports under local differential privacy."""

from sqlalchemy import Double, ForeignKey, LargeBinary, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from sync_server.database.tables.base import Base, Big
from sync_server.database.tables.devices import Device


class CountRow(Base):
    """A report of one window of one device; `(device_id, window, window_s)` is unique, so it counts once."""

    __tablename__ = "count_reports"
    __table_args__ = (UniqueConstraint("device_id", "window_number", "window_s", name="one_report_per_window"),)

    id: Mapped[int] = mapped_column(Big, primary_key=True)
    device_id: Mapped[str] = mapped_column(ForeignKey(Device.device_id))
    window_number: Mapped[int]
    window_s: Mapped[int]
    epsilon: Mapped[float] = mapped_column(Double)
    hash_number: Mapped[int]
    bits: Mapped[bytes] = mapped_column(LargeBinary)
    received_at_s: Mapped[float] = mapped_column(Double, index=True)
