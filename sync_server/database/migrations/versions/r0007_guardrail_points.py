"""How the guardrails of a rollout moved over time."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "guardrail_points",
        sa.Column("rollout_id", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("at_s", sa.Double(), primary_key=True),
        sa.Column("estimate", sa.Double(), nullable=False),
        sa.Column("lower", sa.Double()),
        sa.Column("upper", sa.Double()),
    )
