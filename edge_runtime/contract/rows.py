"""Definitions of the full-text index in `catalogue.sqlite` that builder and device share (docs/bundle-format.md)."""

from collections.abc import Mapping

FIELDS = ("title", "brand", "category", "attributes", "description")
"""The text columns of table `search`, in order."""

BM25_K1, BM25_B = 1.2, 0.75
"""Constants of FTS5's `bm25()`."""

MIN_IDF = 1e-6
"""What FTS5 takes for a word of more than half of all products."""

POSTINGS_SCHEMA = """
CREATE TABLE posting_lengths (lengths BLOB NOT NULL);
CREATE TABLE posting_words (word TEXT PRIMARY KEY, posting INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE postings (
    posting INTEGER PRIMARY KEY, hits INTEGER NOT NULL, rows BLOB NOT NULL, codes BLOB NOT NULL, counts BLOB NOT NULL
);
"""

SUGGESTIONS_SCHEMA = """
CREATE TABLE suggestions (suggestion INTEGER PRIMARY KEY, text TEXT NOT NULL, kind TEXT NOT NULL, weight REAL NOT NULL);
CREATE VIRTUAL TABLE suggestion_words USING fts5(
    words, content='', columnsize=0, prefix='1 2 3', tokenize='unicode61 remove_diacritics 2'
);
"""


def bm25_sql(field_weights: Mapping[str, float]) -> str:
    """Return the query for the rows that match one parameter, with their BM25, more is better, under these weights."""
    weights = ", ".join(repr(float(field_weights.get(name, 1.0))) for name in FIELDS)
    return f"SELECT rowid, -bm25(search, {weights}) FROM search WHERE search MATCH ?"  # noqa: S608 - floats


def quoted_term(term: str) -> str:
    """Quote a word for FTS5, so that it is never read as its syntax."""
    return '"{}"'.format(term.replace('"', '""'))
