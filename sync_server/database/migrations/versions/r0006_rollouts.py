"""Rollouts, experiments, and what devices report of their bundles."""

import sqlalchemy as sa
from alembic import op

from sync_server.database.migrations.columns import (
    BIG,
    DOUBLE,
    DOUBLE_OR_NULL,
    INTEGER,
    KEY,
    ROW_NUMBER,
    STRING,
    STRING_OR_NULL,
    TEXT,
    columns,
    references,
)

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the tables of rollouts and reports."""
    _rollouts()
    _devices()


def _rollouts() -> None:
    op.create_table(
        "rollouts",
        *columns(
            rollout_id=KEY,
            channel=STRING,
            release=INTEGER,
            bundle_id=STRING,
            base_release=INTEGER,
            base_bundle_id=STRING,
            seed=STRING,
            plan=TEXT,
            state=STRING,
            stage=INTEGER,
            stage_started_at_s=DOUBLE,
            created_at_s=DOUBLE,
            ended_at_s=DOUBLE_OR_NULL,
            judged_at_s=DOUBLE,
            reason=TEXT,
            guardrails=TEXT,
        ),
    )
    op.create_index("rollouts_by_channel", "rollouts", ["channel", "created_at_s"])
    op.create_table(
        "rollout_steps",
        *columns(
            id=ROW_NUMBER,
            rollout_id=references("rollouts.rollout_id"),
            at_s=DOUBLE,
            action=STRING,
            actor=STRING,
            reason=TEXT,
            stage=INTEGER,
            devices=INTEGER,
            guardrails=TEXT,
        ),
    )
    op.create_index("ix_rollout_steps_rollout_id", "rollout_steps", ["rollout_id"])
    op.create_table(
        "experiments",
        *columns(
            experiment_id=KEY,
            channel=STRING,
            name=STRING,
            seed=STRING,
            arms=TEXT,
            state=STRING,
            created_at_s=DOUBLE,
            ended_at_s=DOUBLE_OR_NULL,
        ),
    )
    op.create_index("experiments_by_channel", "experiments", ["channel", "created_at_s"])


def _devices() -> None:
    op.create_table(
        "device_reports",
        *columns(
            id=ROW_NUMBER,
            device_id=STRING,
            number=BIG,
            kind=STRING,
            channel=STRING,
            release=BIG,
            bundle_id=STRING,
            reason=STRING_OR_NULL,
            arm=STRING_OR_NULL,
            latency_ms=DOUBLE_OR_NULL,
            error=STRING_OR_NULL,
            timestamp_s=DOUBLE,
            received_at_s=DOUBLE,
        ),
        sa.UniqueConstraint("device_id", "number", name="one_report_per_number"),
    )
    op.create_index("device_reports_by_release", "device_reports", ["channel", "release", "kind"])
    op.create_index("device_reports_by_reason", "device_reports", ["reason"])
    op.create_index("device_reports_by_arrival", "device_reports", ["received_at_s"])
    op.create_table(
        "device_bundles",
        *columns(
            device_id=KEY,
            channel=STRING,
            release=BIG,
            bundle_id=STRING,
            reason=STRING_OR_NULL,
            arm=STRING_OR_NULL,
            since_s=DOUBLE,
        ),
    )
    op.create_index("device_bundles_by_release", "device_bundles", ["channel", "release"])
