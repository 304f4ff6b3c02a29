"""`catalogue.sqlite` opened for reading: one connection, one lock; failures become our errors."""

import functools
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from edge_runtime.contract.errors import BundleFormatError, ModelLoadError

ROWS_VERSION = 1
"""Of the tables in `catalogue.sqlite`; the builder writes it as `user_version`."""
_CHUNK = 500  # SQLite before 3.32 takes 999 parameters at most


class RowsDatabase:
    """Read-only access from any thread; the file is never written to, not even beside."""

    def __init__(self, path: Path) -> None:
        """Open `path` and check that it is a catalogue.

        Raises:
            BundleFormatError: not an SQLite file, or of another version.
            ModelLoadError: this Python's SQLite has no full-text search.
        """
        self._path = path
        self._lock = threading.Lock()
        address = f"file:{quote(str(path.resolve()))}?mode=ro&immutable=1"
        try:
            self._connection = sqlite3.connect(address, uri=True, check_same_thread=False, isolation_level=None)
        except sqlite3.Error as error:
            raise BundleFormatError(f"cannot open {path}: {error}; get the bundle again") from error
        try:
            version = self.fetch("PRAGMA user_version")[0][0]
            if version != ROWS_VERSION:
                raise BundleFormatError(f"{path} has version {version}, this runtime reads {ROWS_VERSION}; update it")
            self.fetch("SELECT rowid FROM search LIMIT 0")
        except BaseException:
            self.close()
            raise

    @functools.cached_property
    def product_columns(self) -> frozenset[str]:
        """The columns that table `products` has here: a catalogue may lack those that are optional.

        Raises:
            BundleFormatError: as `fetch`.
        """
        return frozenset(name for (name,) in self.fetch("SELECT name FROM pragma_table_info('products')"))

    def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return every row of a query.

        Raises:
            BundleFormatError: the file is damaged or closed.
            ModelLoadError: this Python's SQLite has no full-text search.
        """
        try:
            with self._lock:
                return self._connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            if "no such module" in str(error):
                raise ModelLoadError(
                    f"this Python's SQLite {sqlite3.sqlite_version} has no full-text search (FTS5); "
                    "use a Python whose SQLite has it, and import sqlite3 before TensorFlow"
                ) from error
            raise BundleFormatError(f"cannot read {self._path}: {error}; get the bundle again") from error

    def fetch_by_keys(self, sql: str, keys: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of `sql`, whose `({})` stands for a list of keys, in portions that every SQLite accepts."""
        for start in range(0, len(keys), _CHUNK):
            portion = keys[start : start + _CHUNK]
            yield from self.fetch(sql.format(", ".join("?" * len(portion))), portion)

    def close(self) -> None:
        """Close the file; later calls of `fetch` raise BundleFormatError."""
        with self._lock:
            self._connection.close()
