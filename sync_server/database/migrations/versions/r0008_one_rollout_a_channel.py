"""A channel has at most one rollout that is running or paused."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_UNDER_WAY = sa.text("state IN ('running', 'paused')")


def upgrade() -> None:
    """Make the index; where two were started at the same moment, devices follow the newer one already."""
    op.execute(
        "UPDATE rollouts SET state = 'superseded', ended_at_s = created_at_s "
        "WHERE state IN ('running', 'paused') AND EXISTS (SELECT 1 FROM rollouts AS later "
        "WHERE later.channel = rollouts.channel AND (later.created_at_s, later.rollout_id) > "
        "(rollouts.created_at_s, rollouts.rollout_id))"
    )
    op.create_index(
        "one_rollout_under_way",
        "rollouts",
        ["channel"],
        unique=True,
        postgresql_where=_UNDER_WAY,
        sqlite_where=_UNDER_WAY,
    )
