"""Rollouts, experiments, and what devices report of their bundles."""

import sqlalchemy as sa
from alembic import op

from sync_server.database.migrations import columns as kinds

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the tables of rollouts and reports."""
    _rollouts()
    _experiments()
    _devices()


def _rollouts() -> None:
    op.create_table(
        "rollouts",
        *kinds.columns(
            rollout_id=kinds.KEY,
            channel=kinds.STRING,
            release=kinds.INTEGER,
            bundle_id=kinds.STRING,
            base_release=kinds.INTEGER,
            base_bundle_id=kinds.STRING,
            seed=kinds.STRING,
            plan=kinds.TEXT,
            state=kinds.STRING,
            stage=kinds.INTEGER,
            stage_started_at_s=kinds.DOUBLE,
            created_at_s=kinds.DOUBLE,
            ended_at_s=kinds.DOUBLE_OR_NULL,
            judged_at_s=kinds.DOUBLE,
            reason=kinds.TEXT,
            guardrails=kinds.TEXT,
        ),
    )
    op.create_index("rollouts_by_channel", "rollouts", ["channel", "created_at_s"])
    op.create_table(
        "rollout_steps",
        *kinds.columns(
            id=kinds.ROW_NUMBER,
            rollout_id=kinds.references("rollouts.rollout_id"),
            at_s=kinds.DOUBLE,
            action=kinds.STRING,
            actor=kinds.STRING,
            reason=kinds.TEXT,
            stage=kinds.INTEGER,
            devices=kinds.INTEGER,
            guardrails=kinds.TEXT,
        ),
    )
    op.create_index("ix_rollout_steps_rollout_id", "rollout_steps", ["rollout_id"])


def _experiments() -> None:
    op.create_table(
        "experiments",
        *kinds.columns(
            experiment_id=kinds.KEY,
            channel=kinds.STRING,
            name=kinds.STRING,
            seed=kinds.STRING,
            arms=kinds.TEXT,
            state=kinds.STRING,
            created_at_s=kinds.DOUBLE,
            ended_at_s=kinds.DOUBLE_OR_NULL,
        ),
    )
    op.create_index("experiments_by_channel", "experiments", ["channel", "created_at_s"])


def _devices() -> None:
    op.create_table(
        "device_reports",
        *kinds.columns(
            id=kinds.ROW_NUMBER,
            device_id=kinds.STRING,
            number=kinds.BIG,
            kind=kinds.STRING,
            channel=kinds.STRING,
            release=kinds.BIG,
            bundle_id=kinds.STRING,
            reason=kinds.STRING_OR_NULL,
            arm=kinds.STRING_OR_NULL,
            latency_ms=kinds.DOUBLE_OR_NULL,
            error=kinds.STRING_OR_NULL,
            timestamp_s=kinds.DOUBLE,
            received_at_s=kinds.DOUBLE,
        ),
        sa.UniqueConstraint("device_id", "number", name="one_report_per_number"),
    )
    op.create_index("device_reports_by_release", "device_reports", ["channel", "release", "kind"])
    op.create_index("device_reports_by_reason", "device_reports", ["reason"])
    op.create_index("device_reports_by_arrival", "device_reports", ["received_at_s"])
    op.create_table(
        "device_bundles",
        *kinds.columns(
            device_id=kinds.KEY,
            channel=kinds.STRING,
            release=kinds.BIG,
            bundle_id=kinds.STRING,
            reason=kinds.STRING_OR_NULL,
            arm=kinds.STRING_OR_NULL,
            since_s=kinds.DOUBLE,
        ),
    )
    op.create_index("device_bundles_by_release", "device_bundles", ["channel", "release"])
