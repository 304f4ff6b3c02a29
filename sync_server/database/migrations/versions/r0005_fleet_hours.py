"""Which bundle a device has, and how many had which, hour by hour."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the bundle of a device and the table of hours."""
    with op.batch_alter_table("devices") as devices:
        devices.add_column(sa.Column("bundle_id", sa.String()))
    op.create_table(
        "fleet_hours",
        sa.Column("hour_s", BIG, primary_key=True, autoincrement=False),
        sa.Column("bundle_id", sa.String(), primary_key=True),
        sa.Column("devices", sa.Integer(), nullable=False),
    )
