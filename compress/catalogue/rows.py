"""Writes `catalogue.sqlite` and `item_vectors.npy`, the parts of the catalogue that need no TensorFlow."""

import contextlib
import json
import os
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.lib.format as npy_format
import numpy.typing as npt

from compress.catalogue.postings import write_postings
from compress.catalogue.suggestions import write_suggestions
from compress.errors import CompressionError
from edge_runtime.contract.atomic_files import disk_errors_named, sync_folder
from edge_runtime.contract.bundle import CATALOGUE_ROWS_FILE, ITEM_VECTORS_FILE
from edge_runtime.contract.product_columns import PRODUCT_COLUMNS, SQL_TYPES, ProductColumn
from edge_runtime.contract.text import normalize_text
from edge_runtime.contract.types import Float32
from edge_runtime.products.rows_database import ROWS_VERSION
from edge_runtime.search.spelling import fold_word, trigrams_of, words_of
from train.data.tables import Product

MAX_DESCRIPTION_CHARS = 300
"""Longer descriptions are cut at a word, for display and search: they would be most of the file."""

_MAX_TERMS = 60_000  # the most frequent words: rarer ones are more often misspelled themselves
_MIN_TERM_CHARS, _MAX_TERM_CHARS = 3, 24  # a device corrects words of 4 to 24 letters (edge_runtime/search/lexical.py)
_SCHEMA = """
CREATE VIRTUAL TABLE search USING fts5(
    title, brand, category, attributes, description,
    content='', tokenize='porter unicode61 remove_diacritics 2'
);
CREATE TABLE terms (term_id INTEGER PRIMARY KEY, term TEXT NOT NULL, products INTEGER NOT NULL);
CREATE VIRTUAL TABLE trigrams USING fts5(
    pieces, content='', detail=none, columnsize=0, tokenize='ascii'
);
CREATE TABLE common_terms (term TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE attribute_names (name TEXT PRIMARY KEY, products INTEGER NOT NULL) WITHOUT ROWID;
"""


def write_item_vectors(folder: Path, item_vectors: Float32) -> None:
    """Write `item_vectors.npy`: float16 [products, dim], version 1.0 of the format, so that it can be mapped.

    Stopped halfway, the old file is still there.

    Raises:
        StorageError: the disk is full, read-only or not permitted.
    """
    with _replacing(folder / ITEM_VECTORS_FILE) as temporary, temporary.open("wb") as file:
        npy_format.write_array(file, np.ascontiguousarray(item_vectors, dtype=np.float16), version=(1, 0))


def write_catalogue_rows(
    folder: Path,
    products: Sequence[Product],
    *,
    popularity: npt.NDArray[np.floating] | None = None,
    queries: Mapping[str, float] | None = None,
) -> None:
    """Write `catalogue.sqlite`: rows for display and filters, the full-text index, the words for typos.

    Equal input gives equal bytes with the same SQLite. Stopped halfway, the old file is still there.

    Args:
        folder: where the bundle is put together.
        products: row r of the table is `products[r]`.
        popularity: float [products], the higher the earlier when there is no history; None when nothing is known.
        queries: query -> weight, suggested to people while they type.

    Raises:
        CompressionError: no products, an id twice, or `popularity` of another length or not finite.
        StorageError: the disk is full, read-only or not permitted.
    """
    ranks = _checked_popularity(products, popularity)
    with _replacing(folder / CATALOGUE_ROWS_FILE) as temporary:
        try:
            with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
                columns = _stored_columns(products)
                database.executescript(
                    f"PRAGMA page_size=4096; PRAGMA user_version={ROWS_VERSION}; {_products_schema(columns)}{_SCHEMA}"
                )
                database.execute("BEGIN")
                _fill_products(database, products, columns, ranks)
                words = _fill_search(database, products)
                database.execute("COMMIT")
                database.execute("INSERT INTO search(search) VALUES('optimize')")
                database.execute("INSERT INTO trigrams(trigrams) VALUES('optimize')")
                write_postings(database, words, products=len(products))
                write_suggestions(database, products, queries or {})
                database.execute("VACUUM INTO ?", (str(temporary),))
        except sqlite3.IntegrityError as error:
            raise CompressionError(f"product ids must be distinct ({error}); clean the shop first") from error
        except sqlite3.OperationalError as error:
            raise CompressionError(f"cannot write {folder / CATALOGUE_ROWS_FILE}: {error}; free some space") from error


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Give a name for a new file beside `path`; at the end it takes its place, at an error it is removed."""
    with disk_errors_named(path), tempfile.TemporaryDirectory(prefix=".tmp-", dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)


def _checked_popularity(products: Sequence[Product], popularity: npt.NDArray[np.floating] | None) -> list[float]:
    if not products:
        raise CompressionError("a catalogue has at least one product, there is none; check the shop's products table")
    if popularity is None:
        return [0.0] * len(products)
    if popularity.shape != (len(products),) or not np.isfinite(popularity).all():
        raise CompressionError(
            f"popularity must be finite numbers of shape ({len(products)},), found shape {popularity.shape}"
        )
    return [float(value) for value in popularity]


def _stored_columns(products: Sequence[Product]) -> list[ProductColumn]:
    """Return the columns to store: an optional one costs bytes in every row, so only where a product has a value."""
    return [
        column
        for column in PRODUCT_COLUMNS
        if not column.is_optional or any(getattr(product, column.name) not in (None, {}) for product in products)
    ]


def _products_schema(columns: Sequence[ProductColumn]) -> str:
    # Optional columns stand after the others, so that a shop without them gets the same bytes as ever.
    lines = {False: ["row INTEGER PRIMARY KEY"], True: ["popularity REAL NOT NULL"]}
    for column in columns:
        marks = (" NOT NULL" if column.is_required else "") + (" UNIQUE" if column.name == "product_id" else "")
        lines[column.is_optional].append(f"{column.stored} {SQL_TYPES[column.type]}{marks}")
    return "\nCREATE TABLE products (\n    {}\n);".format(",\n    ".join(lines[False] + lines[True]))


def _fill_products(
    database: sqlite3.Connection, products: Sequence[Product], columns: Sequence[ProductColumn], popularity: list[float]
) -> None:
    stored = ", ".join(["row", "popularity", *(column.stored for column in columns)])
    rows = (
        (row, rank, *(_stored(product, column) for column in columns))
        for row, (product, rank) in enumerate(zip(products, popularity, strict=True))
    )
    marks = ", ".join("?" * (len(columns) + 2))
    database.executemany(f"INSERT INTO products ({stored}) VALUES ({marks})", rows)  # noqa: S608 - our own columns
    names = Counter(name for product in products for name in product.attributes)
    database.executemany("INSERT INTO attribute_names VALUES (?, ?)", sorted(names.items()))


def _fill_search(database: sqlite3.Connection, products: Sequence[Product]) -> set[str]:
    """Fill the full-text index and the words for typos; return all words of the texts, folded."""
    everywhere: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for row, product in enumerate(products):
        fields = [product.title, product.brand, product.category, " ".join(product.attributes.values())]
        texts = [normalize_text(text or "") for text in fields]
        description = normalize_text(_short(product.description) or "")
        database.execute("INSERT INTO search(rowid, title, brand, category, attributes, description) "
                         "VALUES (?, ?, ?, ?, ?, ?)", (row, *texts, description))  # fmt: skip
        named = {fold_word(word) for text in texts for word in words_of(text)}
        counts.update(named)
        everywhere.update(named | {fold_word(word) for word in words_of(description)})
    common = sorted(word for word, count in everywhere.items() if count > len(products) / 2)
    if len(products) > 1:
        database.executemany("INSERT INTO common_terms VALUES (?)", ((word,) for word in common))
    words = [word for word in counts if word.isalpha() and _MIN_TERM_CHARS <= len(word) <= _MAX_TERM_CHARS]
    kept = sorted(sorted(words, key=lambda word: (-counts[word], word))[:_MAX_TERMS])
    for term_id, word in enumerate(kept):
        database.execute("INSERT INTO terms VALUES (?, ?, ?)", (term_id, word, counts[word]))
        pieces = " ".join(trigrams_of(word))
        database.execute("INSERT INTO trigrams(rowid, pieces) VALUES (?, ?)", (term_id, pieces))
    return set(everywhere)


def _stored(product: Product, column: ProductColumn) -> object:
    value = getattr(product, column.name)
    if column.name == "description":
        return _short(value)
    if column.type == "texts":
        return json.dumps(dict(value), ensure_ascii=False) if value or column.is_required else None
    return int(value) if column.type == "flag" and value is not None else value


def _short(text: str | None) -> str | None:
    """Cut at the last space before the limit; a text without one is cut at the limit."""
    if text is None or len(text) <= MAX_DESCRIPTION_CHARS:
        return text
    head = text[:MAX_DESCRIPTION_CHARS]
    return f"{(head.rsplit(' ', 1)[0] or head).rstrip()}…"
