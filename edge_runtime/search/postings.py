"""One term -> its rows with BM25: from the bundle's postings, or from the full-text index."""

import math
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.errors import BundleFormatError
from edge_runtime.contract.rows import BM25_B, BM25_K1, FIELDS, MIN_IDF, bm25_sql, quoted_term
from edge_runtime.contract.types import Float32, Rows
from edge_runtime.products.rows_database import RowsDatabase

_REMEMBERED_HITS = 250_000
"""So many rows of recent terms are kept: some 2 MB."""

_POSTING = "SELECT hits, rows, codes, counts FROM posting_words JOIN postings USING (posting) WHERE word = ?"


@dataclass(frozen=True, eq=False)
class TermHits:
    """The rows with one term: int32 [n], rising, their BM25 float32 [n], and by text column the rows that hold it."""

    rows: Rows
    bm25: Float32
    by_field: Mapping[str, Rows]


class Postings:
    """Hits of single terms; may be used from any thread."""

    def __init__(
        self, database: RowsDatabase, *, products: int, field_weights: Mapping[str, float], columns: Sequence[str]
    ) -> None:
        """Prepare the queries.

        Args:
            database: the opened file.
            products: number of rows in the catalogue.
            field_weights: BM25 weight of each text column, 1 for those it does not name.
            columns: text columns whose rows are returned separately.
        """
        self._database = database
        self._products = products
        self._columns = tuple(columns)
        self._weights = np.array([float(field_weights.get(name, 1.0)) for name in FIELDS])
        self._hits_sql = bm25_sql(field_weights)
        self._lengths = _row_lengths(database, products)
        self._mean_length = float(self._lengths.mean()) if self._lengths is not None else 0.0
        self._lock = threading.Lock()
        self._recent: OrderedDict[str, TermHits] = OrderedDict()
        self._recent_hits = 0

    def of(self, term: str) -> TermHits:
        """Return the rows with a term, or a form of it.

        Raises:
            BundleFormatError: the file is damaged, or names a row that the catalogue does not have.
        """
        with self._lock:
            hits = self._recent.get(term)
            if hits is not None:
                self._recent.move_to_end(term)
                return hits
        hits = self._read(term) if self._lengths is not None else None
        hits = hits or self._ask(term)
        if len(hits.rows) and not 0 <= hits.rows[0] <= hits.rows[-1] < self._products:
            raise BundleFormatError(
                "the full-text index names a row that the catalogue does not have; get the bundle again"
            )
        with self._lock:
            if term not in self._recent:
                self._recent[term] = hits
                self._recent_hits += len(hits.rows) + 1
            while self._recent_hits > _REMEMBERED_HITS and len(self._recent) > 1:
                self._recent_hits -= len(self._recent.popitem(last=False)[1].rows) + 1
        return hits

    def _read(self, term: str) -> TermHits | None:
        found = self._database.fetch(_POSTING, (term,))
        if not found:
            return None
        try:
            return self._unpacked(*found[0])
        except (ValueError, TypeError, IndexError) as error:
            raise BundleFormatError(
                f"the postings of {term!r} are malformed ({error}); get the bundle again"
            ) from error

    def _unpacked(self, hits: int, rows_blob: bytes, codes_blob: bytes, counts_blob: bytes) -> TermHits:
        """The BM25 of FTS5, in its order of operations, so that both give the same numbers."""
        small = len(rows_blob) == 2 * hits
        rows = np.cumsum(np.frombuffer(rows_blob, "<u2"), dtype=np.int32) if small else np.frombuffer(rows_blob, "<i4")
        codes = np.frombuffer(codes_blob, np.uint8 if len(codes_blob) == hits else "<u2")
        counts = np.frombuffer(counts_blob, np.uint8).reshape(-1, len(FIELDS))
        if not 0 < hits == len(rows) == len(codes) or self._lengths is None:
            raise ValueError(f"{hits} hits, {len(rows)} rows, {len(codes)} codes")
        idf = math.log((self._products - hits + 0.5) / (hits + 0.5))
        frequency = (counts @ self._weights)[codes]
        norm = BM25_K1 * (1 - BM25_B + BM25_B * self._lengths[rows] / self._mean_length)
        bm25 = (idf if idf > 0 else MIN_IDF) * (frequency * (BM25_K1 + 1) / (frequency + norm))
        by_field = {name: rows[(counts[:, FIELDS.index(name)] > 0)[codes]] for name in self._columns}
        return TermHits(rows, bm25.astype(np.float32), by_field)

    def _ask(self, term: str) -> TermHits:
        """BM25 of several terms is the sum of theirs, so one term at a time is asked for."""
        found = sorted(self._database.fetch(self._hits_sql, (match_any((term,)),)))
        rows, scores = zip(*found, strict=True) if found else ((), ())
        by_field = {name: self._ask_rows(term, name) for name in self._columns}
        bm25 = np.maximum(np.array(scores, dtype=np.float32), 0)
        return TermHits(np.array(rows, dtype=np.int32), bm25, by_field)

    def _ask_rows(self, term: str, name: str) -> Rows:
        sql = "SELECT rowid FROM search WHERE search MATCH ?"
        found = self._database.fetch(sql, (f"{name} : {match_any((term,))}",))
        return np.array([row for (row,) in found], dtype=np.int32)


def match_any(terms: Sequence[str]) -> str:
    """Return an FTS5 expression that any of `terms` matches."""
    return " OR ".join(quoted_term(term) for term in terms)


def _row_lengths(database: RowsDatabase, products: int) -> npt.NDArray[np.uint16] | None:
    """Return the tokens of each row, uint16 [products]; None without postings: the index says the same, later."""
    if not database.fetch("SELECT 1 FROM sqlite_master WHERE name = 'posting_lengths'"):
        return None
    blob = database.fetch("SELECT lengths FROM posting_lengths")[0][0]
    lengths = np.frombuffer(blob, dtype="<u2")
    if len(lengths) != products:
        raise BundleFormatError(
            f"the postings know {len(lengths)} products, the manifest says {products}; get the bundle again"
        )
    return lengths
