"""Which bundle a device has, and how many had which, hour by hour."""

import sqlalchemy as sa
from alembic import op

from sync_server.database.migrations import columns as kinds

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the bundle of a device and the table of hours."""
    with op.batch_alter_table("devices") as devices:
        devices.add_column(sa.Column("bundle_id", sa.String()))
    op.create_table(
        "fleet_hours",
        *kinds.columns(hour_s=kinds.GIVEN_BIG_NUMBER, bundle_id=kinds.KEY, devices=kinds.INTEGER),
    )
