"""How the guardrails of a rollout moved over time."""

from alembic import op

from sync_server.database.migrations.columns import DOUBLE, DOUBLE_KEY, DOUBLE_OR_NULL, KEY, columns

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "guardrail_points",
        *columns(
            rollout_id=KEY, name=KEY, at_s=DOUBLE_KEY, estimate=DOUBLE, lower=DOUBLE_OR_NULL, upper=DOUBLE_OR_NULL
        ),
    )
