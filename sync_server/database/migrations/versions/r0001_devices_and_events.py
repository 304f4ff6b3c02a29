"""Devices, their enrollment codes and their feedback."""

import sqlalchemy as sa
from alembic import op

from sync_server.database.migrations import columns as kinds

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the first tables."""
    op.create_table(
        "devices",
        *kinds.columns(
            device_id=kinds.KEY,
            credential_sha256=kinds.UNIQUE,
            enrolled_at_s=kinds.DOUBLE,
            last_feedback_at_s=kinds.DOUBLE_OR_NULL,
        ),
    )
    op.create_table(
        "enrolment_codes",
        *kinds.columns(
            code_sha256=kinds.KEY,
            created_at_s=kinds.DOUBLE,
            expires_at_s=kinds.DOUBLE,
            device_id=kinds.references("devices.device_id", or_null=True),
        ),
    )
    op.create_table(
        "events",
        *kinds.columns(
            id=kinds.ROW_NUMBER,
            device_id=kinds.STRING,
            sequence=kinds.BIG,
            kind=kinds.STRING,
            product_id=kinds.STRING,
            bundle_id=kinds.STRING,
            timestamp_s=kinds.DOUBLE,
            position=kinds.INTEGER_OR_NULL,
            propensity=kinds.DOUBLE_OR_NULL,
            query=kinds.TEXT_OR_NULL,
            received_at_s=kinds.DOUBLE,
        ),
        sa.UniqueConstraint("device_id", "sequence", name="one_event_per_sequence"),
    )
    op.create_index("events_by_bundle", "events", ["bundle_id", "kind"])
