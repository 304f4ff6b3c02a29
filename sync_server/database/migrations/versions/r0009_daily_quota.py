"""How much a device has sent on its last day."""

import sqlalchemy as sa
from alembic import op

from sync_server.database.migrations.columns import BIG_INTEGER

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the columns."""
    for name in ("quota_day", "quota_bytes", "quota_events"):
        op.add_column("devices", sa.Column(name, BIG_INTEGER, nullable=False, server_default="0"))
