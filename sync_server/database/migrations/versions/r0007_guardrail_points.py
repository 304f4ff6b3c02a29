"""How the guardrails of a rollout moved over time."""

from alembic import op

from sync_server.database.migrations import columns as kinds

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "guardrail_points",
        *kinds.columns(
            rollout_id=kinds.KEY,
            name=kinds.KEY,
            at_s=kinds.DOUBLE_KEY,
            estimate=kinds.DOUBLE,
            lower=kinds.DOUBLE_OR_NULL,
            upper=kinds.DOUBLE_OR_NULL,
        ),
    )
