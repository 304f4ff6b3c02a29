"""Databases of one real PostgreSQL for a test session."""

import itertools

from sqlalchemy import text

from benchmarks.fleet.local_servers import LocalPostgres
from sync_server.database.engine import migrate, open_database
from sync_server.database.schema import METADATA

_NUMBERS = itertools.count(1)


class PostgresDatabases:
    """One cluster; without fsync, since no test of it ends in a crash."""

    def __init__(self) -> None:
        self.cluster = LocalPostgres(durable=False)
        self._migrated = open_database(self.cluster.create_database("migrated"))
        migrate(self._migrated)

    def emptied(self) -> str:
        """Return the URL of the one database with empty tables; it serves one test at a time."""
        tables = ", ".join(f'"{table.name}"' for table in METADATA.sorted_tables)
        with self._migrated.begin() as connection:
            connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))
        return self.cluster.url("migrated")

    def fresh(self) -> str:
        """Return the URL of a new database without tables."""
        return self.cluster.create_database(f"test_{next(_NUMBERS)}")

    def close(self) -> None:
        self._migrated.dispose()
        self.cluster.stop()
