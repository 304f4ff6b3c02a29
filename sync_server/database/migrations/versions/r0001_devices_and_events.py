"""Devices, their enrollment codes and their feedback."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# SQLite numbers rows by themselves only in a column of type INTEGER, which holds 64 bits there.
BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the first tables."""
    op.create_table(
        "devices",
        sa.Column("device_id", sa.String(), primary_key=True),
        sa.Column("credential_sha256", sa.String(), nullable=False, unique=True),
        sa.Column("enrolled_at_s", sa.Double(), nullable=False),
        sa.Column("last_feedback_at_s", sa.Double()),
    )
    op.create_table(
        "enrolment_codes",
        sa.Column("code_sha256", sa.String(), primary_key=True),
        sa.Column("created_at_s", sa.Double(), nullable=False),
        sa.Column("expires_at_s", sa.Double(), nullable=False),
        sa.Column("device_id", sa.String(), sa.ForeignKey("devices.device_id")),
    )
    op.create_table(
        "events",
        sa.Column("id", BIG, primary_key=True),
        sa.Column("device_id", sa.String(), nullable=False),
        sa.Column("sequence", BIG, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("product_id", sa.String(), nullable=False),
        sa.Column("bundle_id", sa.String(), nullable=False),
        sa.Column("timestamp_s", sa.Double(), nullable=False),
        sa.Column("position", sa.Integer()),
        sa.Column("propensity", sa.Double()),
        sa.Column("query", sa.Text()),
        sa.Column("received_at_s", sa.Double(), nullable=False),
        sa.UniqueConstraint("device_id", "sequence", name="one_event_per_sequence"),
    )
    op.create_index("events_by_bundle", "events", ["bundle_id", "kind"])
