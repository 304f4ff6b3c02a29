"""The server's database: SQLite in WAL mode, brought to the newest tables by Alembic."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import alembic.command
import alembic.config
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from edge_runtime.contract.errors import StorageError

_READS_ONLY = "reads_only"
_MIGRATIONS = Path(__file__).parent / "migrations"


def open_database(path: Path) -> Engine:
    """Return an engine over the SQLite file at `path`, made when missing; call it after a fork, not before."""
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 30})
    event.listen(engine, "connect", _prepare_connection)
    event.listen(engine, "begin", _begin_by_name)
    return engine


def _prepare_connection(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    if not isinstance(connection, sqlite3.Connection):
        raise TypeError(f"expected a connection to SQLite, got {type(connection).__name__}")
    # The driver would begin transactions late, which lets two writers deadlock; `_begin_by_name` does it instead.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    # FULL: what a receipt acknowledges must survive a power loss, because the device forgets it.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_by_name(connection: Connection) -> None:
    reads_only = connection.get_execution_options().get(_READS_ONLY, False)
    connection.exec_driver_sql("BEGIN DEFERRED" if reads_only else "BEGIN IMMEDIATE")


def reading(engine: Engine) -> Engine:
    """Return `engine` for transactions that only read: they do not wait for a writer."""
    return engine.execution_options(**{_READS_ONLY: True})


def migrate(engine: Engine) -> None:
    """Bring the tables to the newest version; an up-to-date database is left alone.

    Stopped halfway, the database has its old tables.

    Raises:
        StorageError: the file cannot be written or is damaged.
    """
    config = alembic.config.Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    with database_errors_named(), engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "head")


@contextlib.contextmanager
def database_errors_named() -> Iterator[None]:
    """Turn the failures of the database's disk into our StorageError.

    Raises:
        StorageError: locked too long, full, read-only, or damaged.
    """
    try:
        yield
    except (OperationalError, DatabaseError) as error:
        raise StorageError(f"the server's database cannot be used: {error.orig}; nothing was stored") from error
