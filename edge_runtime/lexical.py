"""Words -> rows by BM25 and coverage over the full-text index, with a correction for words that no product has."""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.bundle import FusionSpec
from edge_runtime.contract.errors import BundleFormatError
from edge_runtime.contract.text import normalize_text
from edge_runtime.rows_database import RowsDatabase
from edge_runtime.spelling import edit_distance, fold_word, trigrams_of, words_of

FIELDS = ("title", "brand", "category", "attributes", "description")
ANY_FIELD = "any"
MAX_WORDS = 64
"""Of a longer query, the first distinct words count for the lexical side."""

_MAX_WORD_CHARS = 64
_CANDIDATES = 200
_CORRECTIONS = 2
_REMEMBERED_TERMS = 256
_REMEMBERED_CORRECTIONS = 1_024

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LexicalQuery:
    """What the index is asked for.

    Attributes:
        words: the terms that stand for each word, in order: the word itself, or what an unknown one was corrected to.
        corrections: unknown word -> the catalogue's words nearest to it.
    """

    words: tuple[tuple[str, ...], ...]
    corrections: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def terms(self) -> tuple[str, ...]:
        """All terms, in order, each once."""
        return tuple(dict.fromkeys(term for word in self.words for term in word))


@dataclass(frozen=True, eq=False)
class LexicalParts:
    """What the index says of a query before the parts are weighed.

    Attributes:
        bm25: float32 [products], summed over the terms, 0 where none matches.
        coverage: text column, or "any" -> float32 [products], 0 … 1: the share of the query's words that it holds, each
            weighted by its inverse document frequency.
    """

    bm25: Float32
    coverage: Mapping[str, Float32]

    def weighed(self, coverage_weights: Mapping[str, float]) -> Float32:
        """Return the lexical scores float32 [products] (contract/bundle.py: `FusionSpec`), 0 where no term matches."""
        best = float(self.bm25.max())
        scores = self.bm25 / best if best > 0 else self.bm25.copy()
        for name, weight in coverage_weights.items():
            scores += np.float32(weight) * self.coverage[name]
        return scores


@dataclass(frozen=True, eq=False)
class _TermHits:
    """The rows with one term: int32 [n], their BM25 float32 [n], and by text column the rows that hold it there."""

    rows: npt.NDArray[np.int32]
    bm25: Float32
    by_field: Mapping[str, npt.NDArray[np.int32]]


class LexicalIndex:
    """The full-text side of `catalogue.sqlite`; may be used from any thread."""

    def __init__(self, database: RowsDatabase, *, products: int, fusion: FusionSpec) -> None:
        """Prepare the queries.

        Args:
            database: the opened file.
            products: number of rows in the catalogue.
            fusion: BM25 weight of each text column, 1 for those it does not name, and the weights of coverage.

        Raises:
            BundleFormatError: a weight for a column that does not exist.
        """
        unknown = sorted((set(fusion.field_weights) | set(fusion.coverage_weights) - {ANY_FIELD}) - set(FIELDS))
        if unknown:
            raise BundleFormatError(
                f"the manifest weights the text column {unknown[0]!r}, known are {', '.join(FIELDS)}; build the bundle again"
            )
        self._database = database
        self._products = products
        self._coverage_weights = fusion.coverage_weights
        weights = ", ".join(repr(float(fusion.field_weights.get(name, 1.0))) for name in FIELDS)
        self._hits_sql = f"SELECT rowid, -bm25(search, {weights}) FROM search WHERE search MATCH ?"  # noqa: S608 - floats
        self._common = frozenset(term for (term,) in database.fetch("SELECT term FROM common_terms"))
        self._hits = functools.lru_cache(maxsize=_REMEMBERED_TERMS)(self._ask_hits)
        self._corrected = functools.lru_cache(maxsize=_REMEMBERED_CORRECTIONS)(self._ask_corrections)

    def understand(self, text: str) -> LexicalQuery:
        """Return the words of `text` as the index knows them.

        Words of more than half of all products are left out, for they decide nothing, unless there are no others.
        """
        folded = [fold_word(word)[:_MAX_WORD_CHARS] for word in words_of(normalize_text(text))]
        words = list(dict.fromkeys(word for word in folded if word))
        deciding = [word for word in words if word not in self._common] or words
        alternatives: dict[tuple[str, ...], None] = {}
        corrections: dict[str, tuple[str, ...]] = {}
        for word in deciding[:MAX_WORDS]:
            found = () if len(self._hits(word).rows) else self._corrected(word)
            if found:
                corrections[word] = found
            alternatives[found or (word,)] = None
        return LexicalQuery(tuple(alternatives), corrections)

    def scores(self, query: LexicalQuery) -> Float32:
        """Return the lexical scores float32 [products] (contract/bundle.py: `FusionSpec`), 0 where no term matches."""
        return self.parts(query).weighed(self._coverage_weights)

    def parts(self, query: LexicalQuery) -> LexicalParts:
        """Return what `scores` weighs."""
        bm25 = np.zeros(self._products, dtype=np.float32)
        for term in query.terms:
            hits = self._hits(term)
            bm25[hits.rows] += hits.bm25
        coverage = {name: np.zeros(self._products, dtype=np.float32) for name in self._coverage_weights}
        total = 0.0
        for word in query.words if coverage else ():
            rows = self._rows_with(word, ANY_FIELD)
            rarity = math.log1p((self._products - len(rows) + 0.5) / (len(rows) + 0.5))
            total += rarity
            for name, covered in coverage.items():
                covered[rows if name == ANY_FIELD else self._rows_with(word, name)] += np.float32(rarity)
        for covered in coverage.values():
            covered /= np.float32(max(total, 1e-6))
        return LexicalParts(bm25, coverage)

    def _rows_with(self, word: tuple[str, ...], name: str) -> npt.NDArray[np.int32]:
        """Return the rows that hold any of a word's terms in a text column, each once."""
        found = [hits.rows if name == ANY_FIELD else hits.by_field[name] for hits in map(self._hits, word)]
        if len(found) == 1:
            return found[0]
        marked = np.zeros(self._products, dtype=np.bool_)
        for rows in found:
            marked[rows] = True
        return np.flatnonzero(marked).astype(np.int32)

    def fields_with(self, term: str, row: int) -> tuple[str, ...]:
        """Return the text columns of the product in `row` that hold `term` or a form of it."""
        sql = "SELECT 1 FROM search WHERE search MATCH ? AND rowid = ?"
        return tuple(name for name in FIELDS if self._database.fetch(sql, (f"{name} : {_match((term,))}", row)))

    def _ask_hits(self, term: str) -> _TermHits:
        """Return the rows with one term and its BM25, in no order: BM25 of several terms is the sum of theirs."""
        found = self._database.fetch(self._hits_sql, (_match((term,)),))
        rows, scores = zip(*found, strict=True) if found else ((), ())
        if found and not 0 <= min(rows) <= max(rows) < self._products:
            raise BundleFormatError(
                "the full-text index names a row that the catalogue does not have; get the bundle again"
            )
        by_field = {name: self._ask_rows(term, name) for name in self._coverage_weights if name != ANY_FIELD}
        bm25 = np.maximum(np.array(scores, dtype=np.float32), 0)
        return _TermHits(np.array(rows, dtype=np.int32), bm25, by_field)

    def _ask_rows(self, term: str, name: str) -> npt.NDArray[np.int32]:
        sql = "SELECT rowid FROM search WHERE search MATCH ?"
        return np.array([row for (row,) in self._database.fetch(sql, (f"{name} : {_match((term,))}",))], dtype=np.int32)

    def _ask_corrections(self, word: str) -> tuple[str, ...]:
        limit = _edits_allowed(word)
        if limit == 0:
            return ()
        pieces = trigrams_of(word)
        union = " UNION ALL ".join(["SELECT rowid AS id FROM trigrams WHERE trigrams MATCH ?"] * len(pieces))
        sql = (
            f"SELECT term, products FROM (SELECT id, count(*) AS shared FROM ({union}) GROUP BY id) "  # noqa: S608
            "JOIN terms ON term_id = id WHERE abs(length(term) - ?) <= ? "
            "ORDER BY shared DESC, abs(length(term) - ?), id LIMIT ?"
        )
        near = self._database.fetch(
            sql, (*(_match((piece,)) for piece in pieces), len(word), limit, len(word), _CANDIDATES)
        )
        ranked = sorted((edit_distance(word, term, limit=limit), -products, term) for term, products in near)
        return tuple(term for distance, _, term in ranked if distance == ranked[0][0] <= limit)[:_CORRECTIONS]


def _edits_allowed(word: str) -> int:
    """A short word is one edit away from too many others, a number from every other number."""
    if not word.isalpha() or len(word) > 24:
        return 0
    return 0 if len(word) < 4 else 1 if len(word) < 7 else 2


def _match(terms: Sequence[str]) -> str:
    """Quote `terms` for FTS5, so that no word is ever read as its syntax."""
    return " OR ".join('"{}"'.format(term.replace('"', '""')) for term in terms)
