"""Daily counts of a rollout's two groups, made as events and reports arrive."""

from alembic import op

from sync_server.database.migrations import columns as kinds

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "rollout_days",
        *kinds.columns(
            rollout_id=kinds.KEY,
            stage=kinds.GIVEN_NUMBER,
            day=kinds.GIVEN_NUMBER,
            side=kinds.KEY,
            cell=kinds.GIVEN_NUMBER,
            devices=kinds.INTEGER,
            impressions=kinds.BIG,
            clicks=kinds.BIG,
        ),
    )
    op.create_table(
        "rollout_report_counts",
        *kinds.columns(rollout_id=kinds.KEY, side=kinds.KEY, kind=kinds.KEY, devices=kinds.INTEGER),
    )
