"""All tables of the server, for migrations and for new databases."""

from sync_server.database.tables import counts, devices, events, operators, rollouts
from sync_server.database.tables.base import Base

__all__ = ["METADATA", "counts", "devices", "events", "operators", "rollouts"]

# A table is known to the metadata once its module is imported.
METADATA = Base.metadata
