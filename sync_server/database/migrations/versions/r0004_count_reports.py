"""Reports of devices whose owners chose level `counts`."""

import sqlalchemy as sa
from alembic import op

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "count_reports",
        sa.Column("id", BIG, primary_key=True),
        sa.Column("device_id", sa.String(), sa.ForeignKey("devices.device_id"), nullable=False),
        sa.Column("window_number", sa.Integer(), nullable=False),
        sa.Column("window_s", sa.Integer(), nullable=False),
        sa.Column("epsilon", sa.Double(), nullable=False),
        sa.Column("hash_number", sa.Integer(), nullable=False),
        sa.Column("bits", sa.LargeBinary(), nullable=False),
        sa.Column("received_at_s", sa.Double(), nullable=False),
        sa.UniqueConstraint("device_id", "window_number", "window_s", name="one_report_per_window"),
    )
    op.create_index("ix_count_reports_received_at_s", "count_reports", ["received_at_s"])
