"""Reports of devices whose owners chose level `counts`."""

import sqlalchemy as sa
from alembic import op

from sync_server.database.migrations import columns as kinds

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "count_reports",
        *kinds.columns(
            id=kinds.ROW_NUMBER,
            device_id=kinds.references("devices.device_id"),
            window_number=kinds.INTEGER,
            window_s=kinds.INTEGER,
            epsilon=kinds.DOUBLE,
            hash_number=kinds.INTEGER,
            bits=kinds.BYTES,
            received_at_s=kinds.DOUBLE,
        ),
        sa.UniqueConstraint("device_id", "window_number", "window_s", name="one_report_per_window"),
    )
    op.create_index("ix_count_reports_received_at_s", "count_reports", ["received_at_s"])
