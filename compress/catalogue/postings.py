"""Writes the rows and counts of frequent words, from which a device computes BM25 quickly.

The full-text index answers a rare word at once, but it needs milliseconds for a word of thousands of products. With the
tables written here, the same answer is an addition of arrays.
"""

import sqlite3
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.rows import FIELDS, POSTINGS_SCHEMA

MIN_HITS = 48
"""A word of fewer products costs the full-text index no more than reading its postings."""

_TOKENIZER = "porter unicode61 remove_diacritics 2"  # as the table `search` is declared (rows.py)
_MAX_GAP = 65_535  # the largest unsigned 16-bit number


def write_postings(database: sqlite3.Connection, words: Iterable[str], *, products: int) -> None:
    """Add the tables `posting_lengths`, `posting_words` and `postings` to a filled `catalogue.sqlite`.

    Args:
        database: with the table `search`, its rows 0 … `products` - 1.
        words: folded words of the catalogue's texts, each once.
        products: number of rows.
    """
    database.executescript(POSTINGS_SCHEMA)
    database.execute("INSERT INTO posting_lengths VALUES (?)", (_row_lengths(database, products).tobytes(),))
    numbers: dict[str, int] = {}
    database.execute("CREATE VIRTUAL TABLE temp.places USING fts5vocab(main, search, instance)")
    for word, stem in _stems(database, words):
        if stem not in numbers:
            numbers[stem] = len(numbers)
            found = database.execute("SELECT doc, col FROM temp.places WHERE term = ?", (stem,)).fetchall()
            database.execute("INSERT INTO postings VALUES (?, ?, ?, ?, ?)", (numbers[stem], *_packed(found)))
        database.execute("INSERT INTO posting_words VALUES (?, ?)", (word, numbers[stem]))
    database.execute("DROP TABLE temp.places")


def _stems(database: sqlite3.Connection, words: Iterable[str]) -> list[tuple[str, str]]:
    """Return the words of one token whose stem has enough hits, each with that stem, in the order of the words."""
    database.execute(f"CREATE VIRTUAL TABLE temp.forms USING fts5(word, tokenize='{_TOKENIZER}')")
    database.execute("CREATE VIRTUAL TABLE temp.form_stems USING fts5vocab(temp, forms, instance)")
    database.execute("CREATE VIRTUAL TABLE temp.stems USING fts5vocab(main, search, row)")
    database.executemany("INSERT INTO temp.forms(word) VALUES (?)", ((word,) for word in sorted(words)))
    sql = "SELECT term FROM temp.stems WHERE doc >= ?"
    frequent = {term for (term,) in database.execute(sql, (MIN_HITS,))}
    tokens: dict[int, list[str]] = {}
    for row, stem in database.execute("SELECT doc, term FROM temp.form_stems"):
        tokens.setdefault(row, []).append(stem)
    texts = dict(database.execute("SELECT rowid, word FROM temp.forms"))
    for name in ("stems", "form_stems", "forms"):
        database.execute(f"DROP TABLE temp.{name}")
    return [(texts[row], stems[0]) for row, stems in sorted(tokens.items()) if len(stems) == 1 and stems[0] in frequent]


def _packed(found: list[tuple[int, str]]) -> tuple[int, bytes, bytes, bytes]:
    """Return hits, rows, codes and counts of a stem, given the row and column of each place where it stands."""
    column = {name: place for place, name in enumerate(FIELDS)}
    rows, places = np.unique([row for row, _ in found], return_inverse=True)
    counts = np.zeros((len(rows), len(FIELDS)), dtype=np.int64)
    np.add.at(counts, (places, np.array([column[name] for _, name in found])), 1)
    kinds, codes = np.unique(counts.clip(max=255).astype(np.uint8), axis=0, return_inverse=True)
    gaps = np.diff(rows, prepend=0)
    coded_rows = gaps.astype("<u2") if gaps.max() <= _MAX_GAP else rows.astype("<i4")
    coded_kinds = codes.reshape(-1).astype(np.uint8 if len(kinds) <= 256 else "<u2")
    return len(rows), coded_rows.tobytes(), coded_kinds.tobytes(), kinds.tobytes()


def _row_lengths(database: sqlite3.Connection, products: int) -> npt.NDArray[np.uint16]:
    """Return uint16 [products], the tokens of each row in all columns: FTS5 keeps them, one variable-length integer a column."""
    lengths = np.zeros(products, dtype="<u2")
    for row, sizes in database.execute("SELECT id, sz FROM search_docsize"):
        total = value = 0
        for byte in sizes:
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                total += value
                value = 0
        lengths[row] = min(total, _MAX_GAP)
    return lengths
