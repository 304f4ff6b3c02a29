"""Operators with their sessions and API keys, the audit log, and devices that can be revoked."""

import sqlalchemy as sa
from alembic import op

from sync_server.database.migrations import columns as kinds

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the tables of operators; add the revocation of devices."""
    op.create_table(
        "operators",
        *kinds.columns(
            name=kinds.KEY,
            role=kinds.STRING,
            password_hash=kinds.TEXT,
            created_at_s=kinds.DOUBLE,
            disabled_at_s=kinds.DOUBLE_OR_NULL,
            failed_logins=kinds.INTEGER,
            locked_until_s=kinds.DOUBLE,
        ),
    )
    op.create_table(
        "operator_sessions",
        *kinds.columns(
            token_sha256=kinds.KEY,
            operator=kinds.references("operators.name"),
            created_at_s=kinds.DOUBLE,
            seen_at_s=kinds.DOUBLE,
        ),
    )
    op.create_index("ix_operator_sessions_operator", "operator_sessions", ["operator"])
    op.create_table(
        "api_keys",
        *kinds.columns(
            key_id=kinds.KEY,
            key_sha256=kinds.UNIQUE,
            operator=kinds.references("operators.name", or_null=True),
            role=kinds.STRING,
            label=kinds.TEXT,
            created_at_s=kinds.DOUBLE,
            expires_at_s=kinds.DOUBLE_OR_NULL,
            used_at_s=kinds.DOUBLE_OR_NULL,
            revoked_at_s=kinds.DOUBLE_OR_NULL,
        ),
    )
    _make_audit_log()
    with op.batch_alter_table("devices") as devices:
        devices.add_column(sa.Column("revoked_at_s", sa.Double()))


def _make_audit_log() -> None:
    op.create_table(
        "audit_log",
        *kinds.columns(
            number=kinds.GIVEN_NUMBER,
            at=kinds.STRING,
            actor=kinds.STRING,
            action=kinds.STRING,
            subject=kinds.TEXT,
            details=kinds.TEXT,
            previous=kinds.STRING,
            sha256=kinds.STRING,
        ),
    )
    head = op.create_table(
        "audit_head",
        *kinds.columns(id=kinds.GIVEN_NUMBER, number=kinds.INTEGER, sha256=kinds.STRING),
    )
    op.bulk_insert(head, [{"id": 1, "number": 0, "sha256": "0" * 64}])
