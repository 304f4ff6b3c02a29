"""Reports of devices whose owners chose level `counts`."""

import sqlalchemy as sa
from alembic import op

from sync_server.database.migrations.columns import BYTES, DOUBLE, INTEGER, ROW_NUMBER, columns, references

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "count_reports",
        *columns(
            id=ROW_NUMBER,
            device_id=references("devices.device_id"),
            window_number=INTEGER,
            window_s=INTEGER,
            epsilon=DOUBLE,
            hash_number=INTEGER,
            bits=BYTES,
            received_at_s=DOUBLE,
        ),
        sa.UniqueConstraint("device_id", "window_number", "window_s", name="one_report_per_window"),
    )
    op.create_index("ix_count_reports_received_at_s", "count_reports", ["received_at_s"])
