"""The list and the experiment of an event; the consent of a device, and up to which number its events are deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_EVENT_COLUMNS = {
    "rank": sa.Integer,
    "page_propensity": sa.Double,
    "list_id": sa.String,
    "experiment": sa.String,
    "variant": sa.String,
    "team": sa.String,
}


def upgrade() -> None:
    """Add the columns and the index that retention needs."""
    for name, kind in _EVENT_COLUMNS.items():
        op.add_column("events", sa.Column(name, kind()))
    op.create_index("events_by_arrival", "events", ["received_at_s"])
    op.add_column("devices", sa.Column("privacy_level", sa.String()))
    op.add_column("devices", sa.Column("consented_at_s", sa.Double()))
    op.add_column(
        "devices",
        sa.Column(
            "forgotten_sequence",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
            server_default="0",
        ),
    )
