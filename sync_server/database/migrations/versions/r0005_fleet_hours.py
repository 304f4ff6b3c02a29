"""Which bundle a device has, and how many had which, hour by hour."""

import sqlalchemy as sa
from alembic import op

from sync_server.database.migrations.columns import GIVEN_BIG_NUMBER, INTEGER, KEY, columns

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the bundle of a device and the table of hours."""
    with op.batch_alter_table("devices") as devices:
        devices.add_column(sa.Column("bundle_id", sa.String()))
    op.create_table(
        "fleet_hours",
        *columns(hour_s=GIVEN_BIG_NUMBER, bundle_id=KEY, devices=INTEGER),
    )
