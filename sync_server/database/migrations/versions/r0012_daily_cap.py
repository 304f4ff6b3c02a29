"""How much of a device's last day is counted by rollouts."""

import sqlalchemy as sa
from alembic import op

from sync_server.database.migrations.columns import BIG_INTEGER

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add the columns."""
    for name in ("counted_day", "counted_impressions", "counted_clicks"):
        op.add_column("devices", sa.Column(name, BIG_INTEGER, nullable=False, server_default="0"))
