"""Rollouts, experiments, and what devices report of their bundles."""

import sqlalchemy as sa
from alembic import op

from sync_server.database.tables.base import Big

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the tables of rollouts and reports."""
    _rollouts()
    _devices()


def _rollouts() -> None:
    op.create_table(
        "rollouts",
        sa.Column("rollout_id", sa.String(), primary_key=True),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("release", sa.Integer(), nullable=False),
        sa.Column("bundle_id", sa.String(), nullable=False),
        sa.Column("base_release", sa.Integer(), nullable=False),
        sa.Column("base_bundle_id", sa.String(), nullable=False),
        sa.Column("seed", sa.String(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("stage_started_at_s", sa.Double(), nullable=False),
        sa.Column("created_at_s", sa.Double(), nullable=False),
        sa.Column("ended_at_s", sa.Double()),
        sa.Column("judged_at_s", sa.Double(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("guardrails", sa.Text(), nullable=False),
    )
    op.create_index("rollouts_by_channel", "rollouts", ["channel", "created_at_s"])
    op.create_table(
        "rollout_steps",
        sa.Column("id", Big, primary_key=True),
        sa.Column("rollout_id", sa.String(), sa.ForeignKey("rollouts.rollout_id"), nullable=False),
        sa.Column("at_s", sa.Double(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("devices", sa.Integer(), nullable=False),
        sa.Column("guardrails", sa.Text(), nullable=False),
    )
    op.create_index("ix_rollout_steps_rollout_id", "rollout_steps", ["rollout_id"])
    op.create_table(
        "experiments",
        sa.Column("experiment_id", sa.String(), primary_key=True),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("seed", sa.String(), nullable=False),
        sa.Column("arms", sa.Text(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("created_at_s", sa.Double(), nullable=False),
        sa.Column("ended_at_s", sa.Double()),
    )
    op.create_index("experiments_by_channel", "experiments", ["channel", "created_at_s"])


def _devices() -> None:
    op.create_table(
        "device_reports",
        sa.Column("id", Big, primary_key=True),
        sa.Column("device_id", sa.String(), nullable=False),
        sa.Column("number", Big, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("release", Big, nullable=False),
        sa.Column("bundle_id", sa.String(), nullable=False),
        sa.Column("reason", sa.String()),
        sa.Column("arm", sa.String()),
        sa.Column("latency_ms", sa.Double()),
        sa.Column("error", sa.String()),
        sa.Column("timestamp_s", sa.Double(), nullable=False),
        sa.Column("received_at_s", sa.Double(), nullable=False),
        sa.UniqueConstraint("device_id", "number", name="one_report_per_number"),
    )
    op.create_index("device_reports_by_release", "device_reports", ["channel", "release", "kind"])
    op.create_index("device_reports_by_reason", "device_reports", ["reason"])
    op.create_index("device_reports_by_arrival", "device_reports", ["received_at_s"])
    op.create_table(
        "device_bundles",
        sa.Column("device_id", sa.String(), primary_key=True),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("release", Big, nullable=False),
        sa.Column("bundle_id", sa.String(), nullable=False),
        sa.Column("reason", sa.String()),
        sa.Column("arm", sa.String()),
        sa.Column("since_s", sa.Double(), nullable=False),
    )
    op.create_index("device_bundles_by_release", "device_bundles", ["channel", "release"])
