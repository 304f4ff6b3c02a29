"""Words -> rows by BM25 and coverage over the full-text index, with a correction for words that no product has."""

import functools
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge_runtime.contract.bundle import FusionSpec
from edge_runtime.contract.errors import BundleFormatError
from edge_runtime.contract.rows import FIELDS
from edge_runtime.contract.types import Float32, Rows
from edge_runtime.products.rows_database import RowsDatabase
from edge_runtime.search.postings import Postings, match_any
from edge_runtime.search.spelling import edit_distance, fold_word, trigrams_of, words_of

ANY_FIELD = "any"
MAX_WORDS = 64
"""Of a longer query, the first distinct words count for the lexical side."""

_MAX_WORD_CHARS = 64  # no word of a language is longer; bounds the cost of a pasted string
_CANDIDATES = 200  # terms with the most trigrams in common, whose edit distance is then computed
_CORRECTIONS = 2  # a misspelled word has one meaning; the second covers a tie
_REMEMBERED_CORRECTIONS = 1_024  # some 200 kB


@dataclass(frozen=True)
class LexicalQuery:
    """What the index is asked for.

    Attributes:
        words: the terms of each word, in order: the word itself, or the corrections of an unknown one.
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
    """What the index says of rows before the parts are weighed.

    Attributes:
        bm25: float32 [rows], summed over the terms, 0 where none matches.
        coverage: text column, or "any" -> float32 [rows], 0 … 1: the share of the query's words that it holds, each
            weighted by its inverse document frequency.
    """

    bm25: Float32
    coverage: Mapping[str, Float32]

    def weighed(self, coverage_weights: Mapping[str, float]) -> Float32:
        """Return the lexical scores float32 [rows] (contract/bundle.py: `FusionSpec`), 0 where no term matches."""
        best = float(self.bm25.max()) if len(self.bm25) else 0.0
        scores = self.bm25 / best if best > 0 else self.bm25.copy()
        for name, weight in coverage_weights.items():
            scores += np.float32(weight) * self.coverage[name]
        return scores


@dataclass(frozen=True, eq=False)
class LexicalHits:
    """The rows that any term matches: `rows` int32 [n], rising, and their lexical scores, float32 [n]."""

    rows: Rows
    scores: Float32

    @property
    def best(self) -> float:
        """The best score, 0 when nothing matches."""
        return float(self.scores.max()) if len(self.scores) else 0.0

    def of(self, rows: Rows) -> Float32:
        """Return the scores float32 [rows] of any rows, 0 for those without a term."""
        if not len(self.rows):
            return np.zeros(len(rows), dtype=np.float32)
        places = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
        return np.where(self.rows[places] == rows, self.scores[places], np.float32(0))


NO_HITS = LexicalHits(np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.float32))


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
        self._postings = Postings(
            database,
            products=products,
            field_weights=fusion.field_weights,
            columns=[name for name in fusion.coverage_weights if name != ANY_FIELD],
        )
        self._scratch = threading.local()
        self._common = frozenset(term for (term,) in database.fetch("SELECT term FROM common_terms"))
        self._corrected = functools.lru_cache(maxsize=_REMEMBERED_CORRECTIONS)(self._ask_corrections)

    def understand(self, text: str) -> LexicalQuery:
        """Return the words of `text`, which `normalize_text` gave, as the index knows them.

        Words of more than half of all products are left out, for they decide nothing, unless there are no others.
        """
        folded = [fold_word(word)[:_MAX_WORD_CHARS] for word in words_of(text)]
        words = list(dict.fromkeys(word for word in folded if word))
        deciding = [word for word in words if word not in self._common] or words
        alternatives: dict[tuple[str, ...], None] = {}
        corrections: dict[str, tuple[str, ...]] = {}
        for word in deciding[:MAX_WORDS]:
            found = () if len(self._postings.of(word).rows) else self._corrected(word)
            if found:
                corrections[word] = found
            alternatives[found or (word,)] = None
        return LexicalQuery(tuple(alternatives), corrections)

    def scores(self, query: LexicalQuery) -> Float32:
        """Return the lexical scores float32 [products] (contract/bundle.py: `FusionSpec`), 0 where no term matches."""
        return self.hits(query).of(np.arange(self._products, dtype=np.int32))

    def hits(self, query: LexicalQuery) -> LexicalHits:
        """Return the rows with any term of the query and their lexical scores."""
        found = [self._postings.of(term) for term in query.terms]
        rows = self._union([hits.rows for hits in found])
        return LexicalHits(rows, self._parts(query, rows).weighed(self._coverage_weights)) if len(rows) else NO_HITS

    def parts(self, query: LexicalQuery) -> LexicalParts:
        """Return what `scores` weighs, of every product."""
        return self._parts(query, np.arange(self._products, dtype=np.int32))

    def _parts(self, query: LexicalQuery, rows: Rows) -> LexicalParts:
        """Return the parts of `rows`, among which are all that any term matches."""
        found = [self._postings.of(term) for term in query.terms]
        bm25 = self._summed([(hits.rows, hits.bm25) for hits in found], rows)
        if not self._coverage_weights:
            return LexicalParts(bm25, {})
        rarities = []
        held: dict[str, list[tuple[Rows, np.float32]]] = {name: [] for name in self._coverage_weights}
        for word in query.words:
            anywhere = self._rows_with(word, ANY_FIELD)
            count = len(anywhere)
            rarities.append(math.log1p((self._products - count + 0.5) / (count + 0.5)))
            for name, addends in held.items():
                with_word = anywhere if name == ANY_FIELD else self._rows_with(word, name)
                addends.append((with_word, np.float32(rarities[-1])))
        total = np.float32(max(sum(rarities), 1e-6))
        return LexicalParts(bm25, {name: self._summed(addends, rows) / total for name, addends in held.items()})

    def _summed(self, addends: Sequence[tuple[Rows, Any]], rows: Rows) -> Float32:
        """Return float32 [rows]: the sum of what is added to each; an addend's rows are distinct and among `rows`."""
        sums: Float32 | None = getattr(self._scratch, "sums", None)
        if sums is None:
            sums = self._scratch.sums = np.zeros(self._products, dtype=np.float32)
        for places, values in addends:
            sums[places] += values
        result = sums[rows]
        for places, _ in addends:
            sums[places] = 0
        return result

    def _union(self, found: Sequence[Rows]) -> Rows:
        """Return the rows of any of `found`, rising, each once."""
        if len(found) == 1:
            return found[0]
        marked = np.zeros(self._products, dtype=np.bool_)
        for rows in found:
            marked[rows] = True
        return np.flatnonzero(marked).astype(np.int32)

    def _rows_with(self, word: tuple[str, ...], name: str) -> Rows:
        """Return the rows that hold any of a word's terms in a text column, each once."""
        hits = [self._postings.of(term) for term in word]
        return self._union([one.rows if name == ANY_FIELD else one.by_field[name] for one in hits])

    def fields_with(self, term: str, row: int) -> tuple[str, ...]:
        """Return the text columns of the product in `row` that hold `term` or a form of it."""
        sql = "SELECT 1 FROM search WHERE search MATCH ? AND rowid = ?"
        return tuple(name for name in FIELDS if self._database.fetch(sql, (f"{name} : {match_any((term,))}", row)))

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
            sql, (*(match_any((piece,)) for piece in pieces), len(word), limit, len(word), _CANDIDATES)
        )
        return tuple(term for _, term in sorted(_nearest_terms(word, near, limit)))[:_CORRECTIONS]


def _nearest_terms(word: str, near: Sequence[tuple[str, int]], limit: int) -> list[tuple[int, str]]:
    """Return (-products, term) of the terms at the smallest distance from `word`, if that is `limit` at most.

    A letter that only one of two words has takes an edit of its own, which tells most of them apart at once.
    """
    letters, best = set(word), limit
    found: list[tuple[int, str]] = []
    for term, products in near:
        others = set(term)
        if len(letters - others) > best or len(others - letters) > best:
            continue
        distance = edit_distance(word, term, limit=best)
        if distance < best:
            found, best = [], distance
        if distance == best:
            found.append((-products, term))
    return found


def _edits_allowed(word: str) -> int:
    """A short word is one edit away from too many others, a number from every other number."""
    if not word.isalpha() or len(word) > 24:
        return 0
    return 0 if len(word) < 4 else 1 if len(word) < 7 else 2
