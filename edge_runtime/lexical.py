"""Words -> rows by BM25 over the full-text index, with a correction for words that no product has."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.errors import BundleFormatError
from edge_runtime.contract.text import normalize_text
from edge_runtime.ranking import Ranked
from edge_runtime.rows_database import RowsDatabase
from edge_runtime.spelling import edit_distance, fold_word, trigrams_of, words_of

FIELDS = ("title", "brand", "category", "attributes", "description")
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
        terms: the words, in order, each once, and in place of unknown ones what they were corrected to.
        corrections: unknown word -> the catalogue's words nearest to it.
    """

    terms: tuple[str, ...]
    corrections: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class LexicalIndex:
    """The full-text side of `catalogue.sqlite`; may be used from any thread."""

    def __init__(self, database: RowsDatabase, *, products: int, field_weights: Mapping[str, float]) -> None:
        """Prepare the queries.

        Args:
            database: the opened file.
            products: number of rows in the catalogue.
            field_weights: weight of each text column; a column that is not named counts 1.

        Raises:
            BundleFormatError: a weight for a column that does not exist.
        """
        unknown = sorted(set(field_weights) - set(FIELDS))
        if unknown:
            raise BundleFormatError(
                f"the manifest weights the text column {unknown[0]!r}, known are {', '.join(FIELDS)}; build the bundle again"
            )
        self._database = database
        self._products = products
        weights = ", ".join(repr(float(field_weights.get(name, 1.0))) for name in FIELDS)
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
        terms: dict[str, None] = {}
        corrections: dict[str, tuple[str, ...]] = {}
        for word in deciding[:MAX_WORDS]:
            found = () if len(self._hits(word).rows) else self._corrected(word)
            if found:
                corrections[word] = found
            terms.update(dict.fromkeys(found or (word,)))
        return LexicalQuery(tuple(terms), corrections)

    def bm25(self, query: LexicalQuery) -> Float32:
        """Return float32 [products], the BM25 of every product for any of the query's terms, 0 where none matches."""
        scores = np.zeros(self._products, dtype=np.float32)
        for term in query.terms:
            hits = self._hits(term)
            scores[hits.rows] += hits.scores
        return scores

    def fields_with(self, term: str, row: int) -> tuple[str, ...]:
        """Return the text columns of the product in `row` that hold `term` or a form of it."""
        sql = "SELECT 1 FROM search WHERE search MATCH ? AND rowid = ?"
        return tuple(name for name in FIELDS if self._database.fetch(sql, (f"{name} : {_match((term,))}", row)))

    def _ask_hits(self, term: str) -> Ranked:
        """Return the rows with one term and its BM25, in no order: BM25 of several terms is the sum of theirs."""
        found = self._database.fetch(self._hits_sql, (_match((term,)),))
        rows, scores = zip(*found, strict=True) if found else ((), ())
        if found and not 0 <= min(rows) <= max(rows) < self._products:
            raise BundleFormatError(
                "the full-text index names a row that the catalogue does not have; get the bundle again"
            )
        return Ranked(np.array(rows, dtype=np.int32), np.maximum(np.array(scores, dtype=np.float32), 0))

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
