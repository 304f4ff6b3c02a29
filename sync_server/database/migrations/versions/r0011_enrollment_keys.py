"""Enrollment keys, with each of which many devices enroll."""

from alembic import op

from sync_server.database.migrations import columns as kinds

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "enrollment_keys",
        *kinds.columns(
            key_id=kinds.KEY,
            key_sha256=kinds.UNIQUE,
            label=kinds.STRING,
            device_limit=kinds.INTEGER,
            per_minute=kinds.INTEGER,
            created_at_s=kinds.DOUBLE,
            expires_at_s=kinds.DOUBLE,
            revoked_at_s=kinds.DOUBLE_OR_NULL,
            devices=kinds.INTEGER,
            minute=kinds.INTEGER,
            minute_devices=kinds.INTEGER,
        ),
    )
