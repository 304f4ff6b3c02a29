"""The server's database: SQLite in WAL mode or PostgreSQL. Alembic updates its tables."""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import alembic.command
import alembic.config
import msgspec
from alembic.util import CommandError
from sqlalchemy import URL, ColumnElement, Connection, Engine, create_engine, event, make_url, select, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.pool import ConnectionPoolEntry

from edge_runtime.contract.atomic_files import disk_errors_named
from edge_runtime.contract.errors import ConfigError, PocketrecError, StorageError
from sync_server.errors import RequestError

_READS_ONLY = "reads_only"
_FILE = "file"
_MIGRATIONS = Path(__file__).parent / "migrations"
# A page is a few megabytes in memory.
_PAGE_ROWS = 5_000
_Row = TypeVar("_Row")
_Struct = TypeVar("_Struct", bound=msgspec.Struct)

_POSTGRESQL = "postgresql"
# A request reports after this time that PostgreSQL cannot be reached.
_CONNECT_TIMEOUT_S = 10
# As long as a request may take by default (`slow_request_s`).
_LOCK_TIMEOUT_S = 30
# An arbitrary number; all servers that migrate one database use the same.
_MIGRATION_LOCK = 7_316_529


def open_database(place: Path | str, *, connections: int = 8) -> Engine:
    """Return an engine of a database; call it after a fork, not before.

    Args:
        place: a SQLite file, made when missing, or the URL of a database: postgresql://user@host/name or
            sqlite:///file.
        connections: how many a process may hold open at once (PostgreSQL).

    Raises:
        ConfigError: the URL names a kind of database that is not supported.
    """
    url = URL.create("sqlite", database=str(place)) if isinstance(place, Path) else _checked_url(place)
    if url.get_backend_name() == _POSTGRESQL:
        return create_engine(
            url.set(drivername="postgresql+psycopg"),
            pool_size=connections,
            max_overflow=connections,
            pool_timeout=_LOCK_TIMEOUT_S,
            # No check before each use: after a restart of the database a request may fail, and devices send it again.
            pool_pre_ping=False,
            connect_args={
                "connect_timeout": _CONNECT_TIMEOUT_S,
                "application_name": "pocketrec",
                "options": f"-c lock_timeout={_LOCK_TIMEOUT_S}s -c timezone=UTC",
            },
        )
    engine = create_engine(url, connect_args={"timeout": _LOCK_TIMEOUT_S})
    event.listen(engine, "connect", _prepare_connection)
    event.listen(engine, "begin", _check_file)
    event.listen(engine, "begin", _begin_by_name)
    return engine


def _checked_url(text: str) -> URL:
    expected = "expected postgresql://user@host/name or sqlite:///file"
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        # The text may contain a password, so the message does not repeat it.
        raise ConfigError(f"the database's URL cannot be read; {expected}") from error
    if url.get_backend_name() not in {_POSTGRESQL, "sqlite"}:
        raise ConfigError(f"{url.get_backend_name()} is not supported as a database; {expected}")
    if not url.database:
        raise ConfigError(f"the database's URL names no database; {expected}")
    return url


def is_postgresql(engine: Engine | Connection) -> bool:
    """Return whether `engine` speaks to PostgreSQL."""
    return engine.dialect.name == _POSTGRESQL


def _prepare_connection(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    if not isinstance(connection, sqlite3.Connection):
        raise TypeError(f"expected a connection to SQLite, got {type(connection).__name__}")
    # The driver begins transactions late, so two writers could deadlock. `_begin_by_name` begins them instead.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    # FULL: acknowledged events must survive a power loss, because the device deletes them.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    # What is deleted is overwritten, so that erased texts are not left in free pages.
    connection.execute("PRAGMA secure_delete = ON")
    entry.info[_FILE] = _file_number(connection)


def _file_number(connection: sqlite3.Connection) -> tuple[str, int] | None:
    """Return the path and the inode of the connection's file; None for a database in memory."""
    path = str(connection.execute("PRAGMA database_list").fetchone()[2])
    return (path, os.stat(path).st_ino) if path else None  # noqa: PTH116  (a text, which needs no Path)


def _check_file(connection: Connection) -> None:
    """Refuse a transaction when the database's file was removed: the process still has it open, but nobody finds it again.

    Raises:
        StorageError: another file has its name, or none.
    """
    if (opened := connection.info.get(_FILE)) is None:
        return
    path, number = opened
    try:
        found = os.stat(path).st_ino  # noqa: PTH116  (before every transaction)
    except OSError:
        found = None
    if found != number:
        connection.invalidate()
        raise StorageError(f"{path} was removed or replaced; nothing was stored: restore it and start the server again")


def _begin_by_name(connection: Connection) -> None:
    reads_only = connection.get_execution_options().get(_READS_ONLY, False)
    connection.exec_driver_sql("BEGIN DEFERRED" if reads_only else "BEGIN IMMEDIATE")


def reading(engine: Engine) -> Engine:
    """Return `engine` for transactions that only read: they do not wait for a writer."""
    if is_postgresql(engine):
        # Each read is one statement. BEGIN and ROLLBACK around it would triple the round trips.
        return engine.execution_options(isolation_level="AUTOCOMMIT")
    return engine.execution_options(**{_READS_ONLY: True})


@contextlib.contextmanager
def read_session(engine: Engine) -> Iterator[Session]:
    """Open a session that only reads.

    Raises:
        StorageError: the database cannot be read.
    """
    with database_errors_named(), Session(reading(engine)) as session:
        yield session


@contextlib.contextmanager
def write_session(engine: Engine) -> Iterator[Session]:
    """Open a session with one transaction; an error undoes all of it.

    Raises:
        StorageError: the database cannot be written; nothing was stored.
    """
    with database_errors_named(), Session(engine) as session, session.begin():
        yield session


def empty_log(engine: Engine) -> bool:
    """Move SQLite's write-ahead log into the database and cut it to nothing, so that nothing deleted is left in it.

    Returns:
        False when a reader that takes longer than the lock timeout still needs the log.

    Raises:
        StorageError: the database cannot be written.
    """
    if is_postgresql(engine):
        return True
    with database_errors_named(), contextlib.closing(engine.raw_connection()) as connection:
        cursor = connection.cursor()
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        found = cursor.fetchone()
        return found is not None and not found[0]


@dataclass(frozen=True)
class DatabaseService:
    """A part of the server that works on its database.

    Args:
        engine: the database.
        clock_s: gives the time, in seconds since 1970.
    """

    engine: Engine
    clock_s: Callable[[], float]


def require_row(
    session: Session, table: type[_Row], key: str, missing: PocketrecError, *, to_change: bool = False
) -> _Row:
    """Return the row with this primary key.

    Args:
        session: an open session.
        table: whose row.
        key: the primary key.
        missing: the error when there is no such row.
        to_change: lock the row until the transaction ends.

    Raises:
        PocketrecError: `missing`.
    """
    row = session.get(table, key, with_for_update=to_change)
    if row is None:
        raise missing
    return row


def struct_of(row: object, kind: type[_Struct], **fields: object) -> _Struct:
    """Return a `kind` with the given `fields`; every other field is the row's attribute of the same name."""
    others = {name: getattr(row, name) for name in kind.__struct_fields__ if name not in fields}
    return kind(**others, **fields)


def every_row(
    engine: Engine, table: type[_Row], number: InstrumentedAttribute[int], *where: ColumnElement[bool]
) -> Iterator[_Row]:
    """Give the rows of a table, a page in each transaction, so that no transaction lasts as long as its reader.

    Args:
        engine: the database.
        table: whose rows.
        number: the table's positive, unique number, by which rows come in rising order.
        where: conditions that all hold.

    Raises:
        StorageError: the database cannot be read.
    """
    last = 0
    while True:
        with read_session(engine) as session:
            query = select(table).where(number > last, *where).order_by(number).limit(_PAGE_ROWS)
            page = session.scalars(query).all()
        yield from page
        if len(page) < _PAGE_ROWS:
            return
        last = getattr(page[-1], number.key)


@contextlib.contextmanager
def writers_turn(engine: Engine) -> Iterator[None]:
    """Wait for this process' turn to write; it is for writers that follow each other closely.

    When SQLite finds the database locked, the writer sleeps and tries again. One of two busy processes may so wait for
    seconds. A lock of the operating system wakes the next writer at once.

    Raises:
        StorageError: the disk is full, read-only or not permitted.
    """
    if is_postgresql(engine) or not engine.url.database:
        yield
        return
    path = Path(f"{engine.url.database}.writers")
    with disk_errors_named(path):
        file = path.open("wb")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def take_turn(session: Session, name: str) -> None:
    """Make this transaction the only one of its `name` until it ends, so that what it reads stays true while it writes.

    In SQLite, writing transactions always run one after another.
    """
    if is_postgresql(session.connection()):
        session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name})


def migrate(engine: Engine) -> None:
    """Bring the tables to the newest version; an up-to-date database is left alone.

    Stopped halfway, the database has its old tables.

    Raises:
        ConfigError: the database is that of a newer server.
        StorageError: the database cannot be reached or written, or is damaged.
    """
    config = alembic.config.Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    with database_errors_named(), engine.begin() as connection:
        if is_postgresql(connection):
            # Several machines may start at once. In SQLite, writing transactions always run one after another.
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _MIGRATION_LOCK})
        config.attributes["connection"] = connection
        try:
            alembic.command.upgrade(config, "head")
        except CommandError as error:
            raise ConfigError(
                "the database is that of a newer server, this one does not know its tables; update pocketrec"
            ) from error


@contextlib.contextmanager
def database_errors_named() -> Iterator[None]:
    """Turn the failures of the database into our errors.

    Raises:
        StorageError: not reachable, locked too long, full, read-only, or damaged.
        RequestError: a value that the database cannot hold, like a text with NUL in PostgreSQL or a number of 65 bits.
    """
    try:
        yield
    except PoolTimeoutError as error:
        raise StorageError("every connection to the server's database is in use; nothing was stored") from error
    except (DataError, OverflowError) as error:
        # The value came with the request. The error's text could repeat it, so the message does not have it.
        raise RequestError(
            "a text has the character NUL, or a number is too large; nothing was stored", status_code=400
        ) from error
    except DBAPIError as error:
        # Only the first line: PostgreSQL's other lines may contain values, which must not be logged.
        reason = str(error.orig).strip().split("\n", 1)[0]
        raise StorageError(f"the server's database cannot be used: {reason}; nothing was stored") from error
