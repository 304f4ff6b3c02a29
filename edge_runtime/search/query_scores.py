"""The scores of one query: dense, lexical, and both combined, for any row."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edge_runtime.contract.types import Float32, Mask, Rows
from edge_runtime.inference.encoder import Encoder
from edge_runtime.search.lexical import LexicalHits, LexicalIndex, LexicalQuery
from edge_runtime.search.ranking import Ranked, best_rows, fuse, merged_rows
from edge_runtime.search.vector_index import Catalogue

MIN_CANDIDATES = 100
"""Each side of a hybrid search proposes at least so many rows."""


@dataclass(frozen=True, eq=False)
class QueryScores:
    """Scores of rows for one query; the score of a row does not depend on filters or on which rows are asked for.

    Each part of the query is read when it is first needed.

    Attributes:
        text: the query, normalized, not empty.
        mode: "hybrid", "dense" (the words are not read) or "lexical" (no vector is made).
        encoder: gives the vector.
        catalogue: gives cosines.
        index: gives the scores of the words.
        dense_weight: share of the dense score in the hybrid one, 0 … 1.
    """

    text: str
    mode: str
    encoder: Encoder
    catalogue: Catalogue
    index: LexicalIndex
    dense_weight: float

    @cached_property
    def vector(self) -> Float32:
        """The unit vector float32 [dim] of the query; empty in lexical mode."""
        if self.mode == "lexical":
            return np.zeros(0, dtype=np.float32)
        return self.encoder.encode_normalized(self.text)

    @cached_property
    def query(self) -> LexicalQuery:
        """The words of the query; none in dense mode."""
        return LexicalQuery(()) if self.mode == "dense" else self.index.understand(self.text)

    @cached_property
    def hits(self) -> LexicalHits:
        """The rows that any word matches."""
        return self.index.hits(self.query)

    @cached_property
    def proposed(self) -> Ranked:
        """The vector index's candidates, in its own order."""
        return self.catalogue.propose(self.vector)

    @cached_property
    def nearest(self) -> Ranked:
        """The nearest rows of the whole catalogue: the index's candidates in exact order; at least one."""
        return self.catalogue.rescore(self.vector, self.proposed)

    @property
    def best_lexical(self) -> float:
        """The best lexical score of the whole catalogue, 0 when no word matches."""
        return self.hits.best

    @property
    def best_cosine(self) -> float:
        """The best cosine of the whole catalogue."""
        return float(self.nearest.scores[0])

    @property
    def knows_anything(self) -> bool:
        """Whether the model or the index knows anything of the query."""
        return bool(self.vector.any()) or self.best_lexical > 0

    def ranking(self, k: int, eligible: Mask | None, mode: str) -> Ranked:
        """Return the `k` best eligible rows in `mode`; fewer when fewer are eligible or, by words alone, match.

        Args:
            k: how many rows.
            eligible: bool [products], which rows may be returned; None for all.
            mode: the mode in which the query was read.
        """
        count = max(k, MIN_CANDIDATES)
        if mode == "dense":
            return self._dense(k, eligible)
        words = self._lexical(k if mode == "lexical" else count, eligible)
        if mode == "lexical":
            return words
        dense = self._dense(count, eligible)
        rows = merged_rows(dense.rows, words.rows)
        return best_rows(rows, self.of(rows, mode), k)

    def of(self, rows: Rows, mode: str) -> Float32:
        """Return float32 [rows], their scores in `mode`."""
        if mode == "lexical":
            return self.hits.of(rows)
        cosines = self.cosines(rows)
        return cosines if mode == "dense" else self.hybrid(cosines, self.hits.of(rows))

    def cosines(self, rows: Rows, vector: Float32 | None = None) -> Float32:
        """Return float32 [rows], the cosines with this query, or with another unit `vector` (float32 [dim])."""
        return self.catalogue.cosines(self.vector if vector is None else vector, rows)

    def hybrid(self, cosines: Float32, lexical: Float32) -> Float32:
        """Mix cosines and lexical scores, both float32 [n], by the bundle's weight and this query's best scores."""
        return fuse(
            cosines,
            lexical,
            dense_weight=self.dense_weight,
            best_cosine=self.best_cosine,
            best_lexical=self.best_lexical,
        )

    def _dense(self, count: int, eligible: Mask | None) -> Ranked:
        return self.catalogue.top(self.vector, count, eligible=eligible, nearest=self.nearest)

    def _lexical(self, count: int, eligible: Mask | None) -> Ranked:
        rows, scores = self.hits.rows, self.hits.scores
        kept = scores > 0 if eligible is None else (scores > 0) & eligible[rows]
        return best_rows(rows[kept], scores[kept], count)
