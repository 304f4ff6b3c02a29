"""One query's scores: its vector, its words, and what both say of any row."""

from functools import cached_property

import numpy as np
import numpy.typing as npt

from edge_runtime.catalogue import Catalogue
from edge_runtime.encoder import Encoder
from edge_runtime.lexical import LexicalIndex, LexicalQuery
from edge_runtime.ranking import best_rows, fuse

MIN_CANDIDATES = 100
"""Each side of a hybrid search proposes at least so many rows."""

Float32 = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]


class QueryScores:
    """Scores of rows for one query; the score of a row does not depend on filters or on which rows are asked for."""

    def __init__(
        self,
        text: str,
        mode: str,
        *,
        encoder: Encoder,
        catalogue: Catalogue,
        lexical: LexicalIndex,
        dense_weight: float,
    ) -> None:
        """Read the query in `mode`: "dense" leaves the words out, "lexical" the vector.

        Args:
            text: not empty.
            mode: "hybrid", "dense" or "lexical".
            encoder: gives the vector.
            catalogue: gives cosines.
            lexical: gives the scores of the words.
            dense_weight: share of the dense score in the hybrid one.
        """
        self._catalogue = catalogue
        self.dense_weight = dense_weight
        self.query = LexicalQuery(()) if mode == "dense" else lexical.understand(text)
        self.lexical = lexical.scores(self.query)
        self.vector = np.zeros_like(self.lexical[:0]) if mode == "lexical" else encoder.encode_query(text)

    @cached_property
    def best_lexical(self) -> float:
        """The best lexical score of the whole catalogue, 0 when no word matches."""
        return float(self.lexical.max())

    @cached_property
    def best_cosine(self) -> float:
        """The best cosine of the whole catalogue."""
        return float(self._catalogue.top(self.vector, 1).scores[0])

    @property
    def knows_anything(self) -> bool:
        """Whether the model or the index knows anything of the query."""
        return bool(self.vector.any()) or self.best_lexical > 0

    def candidates(self, k: int, eligible: Mask | None, mode: str) -> Rows:
        """Return the rows among which the `k` best are, each once."""
        count = max(k, MIN_CANDIDATES)
        chosen = np.zeros(len(self._catalogue), dtype=np.bool_)
        if mode != "lexical":
            chosen[self._catalogue.top(self.vector, count, eligible=eligible).rows] = True
        if mode != "dense":
            matching = self.lexical > 0 if eligible is None else (self.lexical > 0) & eligible
            rows = np.flatnonzero(matching).astype(np.int32)
            chosen[best_rows(rows, self.lexical[rows], count).rows] = True
        return np.flatnonzero(chosen).astype(np.int32)

    def of(self, rows: Rows, mode: str) -> Float32:
        """Return float32 [rows], their scores in `mode`."""
        if mode == "lexical":
            return self.lexical[rows]
        cosines = self.cosines(rows)
        return cosines if mode == "dense" else self.hybrid(cosines, self.lexical[rows])

    def cosines(self, rows: Rows, vector: Float32 | None = None) -> Float32:
        """Return float32 [rows], the cosines with this query, or with another unit `vector` (float32 [dim])."""
        return self._catalogue.cosines(self.vector if vector is None else vector, rows)

    def hybrid(self, cosines: Float32, lexical: Float32) -> Float32:
        """Mix cosines and lexical scores, both float32 [n], by the bundle's weight and this query's best scores."""
        return fuse(
            cosines,
            lexical,
            dense_weight=self.dense_weight,
            best_cosine=self.best_cosine,
            best_lexical=self.best_lexical,
        )
