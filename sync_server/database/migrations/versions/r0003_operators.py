"""Operators with their sessions and API keys, the audit log, and devices that can be revoked."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the tables of operators; add the revocation of devices."""
    op.create_table(
        "operators",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("created_at_s", sa.Double(), nullable=False),
        sa.Column("disabled_at_s", sa.Double()),
        sa.Column("failed_logins", sa.Integer(), nullable=False),
        sa.Column("locked_until_s", sa.Double(), nullable=False),
    )
    op.create_table(
        "operator_sessions",
        sa.Column("token_sha256", sa.String(), primary_key=True),
        sa.Column("operator", sa.String(), sa.ForeignKey("operators.name"), nullable=False),
        sa.Column("created_at_s", sa.Double(), nullable=False),
        sa.Column("seen_at_s", sa.Double(), nullable=False),
    )
    op.create_index("ix_operator_sessions_operator", "operator_sessions", ["operator"])
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.String(), primary_key=True),
        sa.Column("key_sha256", sa.String(), nullable=False, unique=True),
        sa.Column("operator", sa.String(), sa.ForeignKey("operators.name")),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("created_at_s", sa.Double(), nullable=False),
        sa.Column("expires_at_s", sa.Double()),
        sa.Column("used_at_s", sa.Double()),
        sa.Column("revoked_at_s", sa.Double()),
    )
    _make_audit_log()
    with op.batch_alter_table("devices") as devices:
        devices.add_column(sa.Column("revoked_at_s", sa.Double()))


def _make_audit_log() -> None:
    op.create_table(
        "audit_log",
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("at", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("previous", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
    )
    head = op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
    )
    op.bulk_insert(head, [{"id": 1, "number": 0, "sha256": "0" * 64}])
