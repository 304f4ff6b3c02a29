"""An SQLite file for data that waits to be sent: durable, usable by several processes; failures become our errors."""

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from edge_runtime.contract.errors import QueueDamagedError, StorageError


def given_before(now_s: float) -> int:
    """Return a number above every one that a lost file gave, if it was begun the same way; the new file begins above it.

    The server takes a number that it has seen for the same event. The result is `now_s`, seconds since 1970, in
    milliseconds: no device gives a number in each of them.
    """
    return max(0, int(now_s * 1_000))


class QueueFile:
    """One open file in WAL mode with `tables` in it; threads take turns within `transaction` and `errors_named`.

    Raises:
        StorageError: the file cannot be made or written.
        QueueDamagedError: the file is not a database, or damaged.
    """

    def __init__(self, path: Path, tables: str) -> None:
        self.path = path
        self._turn = threading.RLock()
        with self.errors_named():
            # isolation_level None: transactions are begun by name below, never by the driver.
            self.database = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
            try:
                self.database.execute("PRAGMA journal_mode = WAL")
                # FULL, because a number that was sent must not be given again after a power loss.
                self.database.execute("PRAGMA synchronous = FULL")
                # What is deleted is overwritten: a person who asks to be forgotten means the disk as well.
                self.database.execute("PRAGMA secure_delete = ON")
                self.database.executescript(tables)
            except BaseException:
                self.database.close()
                raise

    def close(self) -> None:
        """Close the file; what was written stays."""
        self.database.close()

    def scalar(self, query: str, values: tuple[object, ...] = ()) -> int:
        """Return the first column of the first row as a number; 0 when there is none."""
        row = self.database.execute(query, values).fetchone()
        return int(row[0]) if row and row[0] is not None else 0

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Write all or nothing.

        Raises:
            StorageError: the disk is full, read-only or not permitted.
            QueueDamagedError: the file is damaged.
        """
        with self.errors_named():
            self.database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.database.execute("COMMIT")
            except BaseException:
                # SQLite has rolled back by itself after some failures, such as a full disk.
                if self.database.in_transaction:
                    self.database.execute("ROLLBACK")
                raise

    def check(self) -> None:
        """Read the whole file.

        Raises:
            QueueDamagedError: it is damaged.
        """
        with self.errors_named():
            found = self.database.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise sqlite3.DatabaseError(found)

    def overwrite_log(self) -> None:
        """Fold the write-ahead log into the file and empty it, so that nothing deleted is left in either."""
        with self.errors_named():
            self.database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextlib.contextmanager
    def errors_named(self) -> Iterator[None]:
        """Turn SQLite's failures into our errors; no other thread uses the file meanwhile.

        Raises:
            StorageError: the disk is full, read-only or not permitted.
            QueueDamagedError: the file is damaged.
        """
        try:
            with self._turn:
                yield
        except sqlite3.OperationalError as error:
            raise StorageError(
                f"cannot use {self.path}: {error}; free some space or fix the rights, then try again"
            ) from error
        except sqlite3.DatabaseError as error:
            raise QueueDamagedError(
                f"{self.path} is not a feedback queue or is damaged ({error}); move it away, a new one will be begun"
            ) from error
