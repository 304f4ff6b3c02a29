"""The peer BM25: bm25s with an English stemmer and stop words."""

from collections.abc import Sequence

import bm25s
import numpy as np
import numpy.typing as npt
import Stemmer


class Bm25Peer:
    """BM25 (Lucene's variant, k1 1.5, b 0.75: the defaults of bm25s) over one text per product."""

    name = "BM25 (bm25s, English stemmer)"
    size_bytes: int | None = None

    def __init__(self, texts: Sequence[str]) -> None:
        """Index `texts`, one per product."""
        self._stemmer = Stemmer.Stemmer("english")
        self._products = len(texts)
        self._index = bm25s.BM25()
        self._index.index(
            bm25s.tokenize(list(texts), stopwords="en", stemmer=self._stemmer, show_progress=False),
            show_progress=False,
        )

    def score_all(self, query: str) -> npt.NDArray[np.float32]:
        """Return the BM25 score of each product, float32 [products]; all zero when no word is known."""
        tokens = bm25s.tokenize([query], stopwords="en", stemmer=self._stemmer, return_ids=False, show_progress=False)[
            0
        ]
        known = [token for token in tokens if token in self._index.vocab_dict]
        if not known:
            return np.zeros(self._products, np.float32)
        return np.asarray(self._index.get_scores(known), np.float32)
