"""Operators with their sessions and API keys, the audit log, and devices that can be revoked."""

import sqlalchemy as sa
from alembic import op

from sync_server.database.migrations.columns import (
    DOUBLE,
    DOUBLE_OR_NULL,
    GIVEN_NUMBER,
    INTEGER,
    KEY,
    STRING,
    TEXT,
    UNIQUE,
    columns,
    references,
)

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the tables of operators; add the revocation of devices."""
    op.create_table(
        "operators",
        *columns(
            name=KEY,
            role=STRING,
            password_hash=TEXT,
            created_at_s=DOUBLE,
            disabled_at_s=DOUBLE_OR_NULL,
            failed_logins=INTEGER,
            locked_until_s=DOUBLE,
        ),
    )
    op.create_table(
        "operator_sessions",
        *columns(token_sha256=KEY, operator=references("operators.name"), created_at_s=DOUBLE, seen_at_s=DOUBLE),
    )
    op.create_index("ix_operator_sessions_operator", "operator_sessions", ["operator"])
    op.create_table(
        "api_keys",
        *columns(
            key_id=KEY,
            key_sha256=UNIQUE,
            operator=references("operators.name", or_null=True),
            role=STRING,
            label=TEXT,
            created_at_s=DOUBLE,
            expires_at_s=DOUBLE_OR_NULL,
            used_at_s=DOUBLE_OR_NULL,
            revoked_at_s=DOUBLE_OR_NULL,
        ),
    )
    _make_audit_log()
    with op.batch_alter_table("devices") as devices:
        devices.add_column(sa.Column("revoked_at_s", sa.Double()))


def _make_audit_log() -> None:
    op.create_table(
        "audit_log",
        *columns(
            number=GIVEN_NUMBER,
            at=STRING,
            actor=STRING,
            action=STRING,
            subject=TEXT,
            details=TEXT,
            previous=STRING,
            sha256=STRING,
        ),
    )
    head = op.create_table(
        "audit_head",
        *columns(id=GIVEN_NUMBER, number=INTEGER, sha256=STRING),
    )
    op.bulk_insert(head, [{"id": 1, "number": 0, "sha256": "0" * 64}])
