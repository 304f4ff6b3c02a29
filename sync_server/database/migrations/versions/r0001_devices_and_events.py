"""Devices, their enrollment codes and their feedback."""

import sqlalchemy as sa
from alembic import op

from sync_server.database.migrations.columns import (
    BIG,
    DOUBLE,
    DOUBLE_OR_NULL,
    INTEGER_OR_NULL,
    KEY,
    ROW_NUMBER,
    STRING,
    TEXT_OR_NULL,
    UNIQUE,
    columns,
    references,
)

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the first tables."""
    op.create_table(
        "devices",
        *columns(device_id=KEY, credential_sha256=UNIQUE, enrolled_at_s=DOUBLE, last_feedback_at_s=DOUBLE_OR_NULL),
    )
    op.create_table(
        "enrolment_codes",
        *columns(
            code_sha256=KEY,
            created_at_s=DOUBLE,
            expires_at_s=DOUBLE,
            device_id=references("devices.device_id", or_null=True),
        ),
    )
    op.create_table(
        "events",
        *columns(
            id=ROW_NUMBER,
            device_id=STRING,
            sequence=BIG,
            kind=STRING,
            product_id=STRING,
            bundle_id=STRING,
            timestamp_s=DOUBLE,
            position=INTEGER_OR_NULL,
            propensity=DOUBLE_OR_NULL,
            query=TEXT_OR_NULL,
            received_at_s=DOUBLE,
        ),
        sa.UniqueConstraint("device_id", "sequence", name="one_event_per_sequence"),
    )
    op.create_index("events_by_bundle", "events", ["bundle_id", "kind"])
