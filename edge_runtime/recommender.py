"""Recommender: an opened bundle that answers searches, recommends, scores and explains."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from edge_runtime.catalogue import Catalogue
from edge_runtime.contract.bundle import CATALOGUE_ROWS_FILE, GOLDEN_FILE, Bundle, open_bundle
from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.golden import read_golden
from edge_runtime.contract.text import normalize_text
from edge_runtime.encoder import Encoder
from edge_runtime.explanation import Explanation, HistoryExplanation, explain_history, explain_query
from edge_runtime.filters import Where
from edge_runtime.golden_proof import Proof, check_golden
from edge_runtime.history_ranking import rank_history
from edge_runtime.lexical import LexicalIndex
from edge_runtime.product_rows import ProductRow, ProductRows
from edge_runtime.query_scores import QueryScores
from edge_runtime.ranking import Ranked
from edge_runtime.rows_database import RowsDatabase

_LOG = logging.getLogger(__name__)

Mode = Literal["hybrid", "dense", "lexical"]
MODES = ("hybrid", "dense", "lexical")

Float32 = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Recommendations:
    """Products, best first.

    Attributes:
        product_ids: the products.
        scores: float32 [n], falling. Hybrid: 0 … 1; dense: cosine; histories: cosine and what repeats; lexical: BM25; cold start: popularity.
        corrections: words of the query that no product has -> the catalogue's words that were looked for instead.
        unknown_history: products of the history that the catalogue does not know; they were left out.
        cold_start: nothing was known of the query or history, so these are the most popular products.
    """

    product_ids: tuple[str, ...]
    scores: Float32
    corrections: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unknown_history: tuple[str, ...] = ()
    cold_start: bool = False


class Recommender:
    """Answers from one bundle; may be used from any thread. `close` it, or use it as a context manager."""

    def __init__(self, bundle: Bundle, *, num_threads: int = 1, interpreter: str | None = None) -> None:
        """Load the models and open the catalogue of `bundle`; `Recommender.open` does it from a path.

        Raises:
            BundleError: a file is malformed or does not fit the manifest.
            InferenceError: the encoder cannot be run here.
        """
        products = bundle.manifest.catalogue.products
        self.bundle = bundle
        self._encoder = Encoder(bundle, num_threads=num_threads, interpreter=interpreter)
        self._catalogue = Catalogue(bundle, num_threads=num_threads, interpreter=interpreter)
        self._database = RowsDatabase(bundle.path(CATALOGUE_ROWS_FILE))
        try:
            self._products = ProductRows(self._database, products=products)
            self._lexical = LexicalIndex(self._database, products=products, fusion=bundle.manifest.fusion)
        except BaseException:
            self._database.close()
            raise

    @classmethod
    def open(
        cls, path: Path | str, *, num_threads: int = 1, verify: bool = True, interpreter: str | None = None
    ) -> Self:
        """Open the bundle in the folder `path`.

        Args:
            path: where `manifest.json` lies.
            num_threads: threads of one model call.
            verify: compare every file with its SHA-256 first (some 1.5 ms per MB).
            interpreter: "litert" or "tflite-runtime"; by default the first that is installed.

        Raises:
            BundleError: the bundle is damaged, malformed or too new.
            InferenceError: the encoder cannot be run here.
        """
        return cls(open_bundle(path, verify=verify), num_threads=num_threads, interpreter=interpreter)

    def close(self) -> None:
        """Close the bundle's files; the recommender answers no more."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._catalogue)

    def search(
        self,
        query: str,
        *,
        k: int = 10,
        where: Where | None = None,
        exclude: Collection[str] = (),
        mode: Mode = "hybrid",
    ) -> Recommendations:
        """Return the `k` best products for a query; fewer when fewer are eligible or, in lexical mode, match a word.

        A query in which nothing is known, neither by the model nor by the index, gives the most popular products.

        Args:
            query: what a person typed.
            k: how many products, at least 1.
            where: filter (edge_runtime/filters.py).
            exclude: product ids that must not be returned.
            mode: "hybrid" mixes meaning and words by the bundle's weights, "dense" and "lexical" take one alone.

        Raises:
            ConfigError: an empty query, `k` below 1, an unknown field in `where`, or an unknown mode.
        """
        _check_count(k)
        scores = self._query_scores(query, mode)
        eligible = self._eligible(where, exclude)
        if mode != "lexical" and not scores.knows_anything:
            return self._cold_start(k, eligible, unknown_history=())
        return self._answer(scores.ranking(k, eligible, mode), corrections=scores.query.corrections)

    def recommend(
        self, history: Sequence[str], *, k: int = 10, where: Where | None = None, exclude: Collection[str] = ()
    ) -> Recommendations:
        """Return the `k` products that fit a purchase history best, products of the history included.

        Unknown products of the history are left out and named in the answer; an empty or wholly unknown history gives
        the most popular products.

        Args:
            history: product ids, newest last; the newest count (`EncoderSpec.history_items` of them).
            k: how many products, at least 1.
            where: filter (edge_runtime/filters.py).
            exclude: product ids that must not be returned, `history` for new products only.

        Raises:
            ConfigError: `history` is not a list of ids, `k` below 1, or an unknown field in `where`.
        """
        _check_count(k)
        _check_ids(history, "history")
        known = self._products.rows_of(history)
        unknown = tuple(dict.fromkeys(one for one in history if one not in known))
        if unknown:
            _LOG.warning(
                "left out of the history, because the catalogue has no such product: %s", ", ".join(unknown[:5])
            )
        eligible = self._eligible(where, exclude)
        rows = np.array([known[one] for one in history if one in known], dtype=np.int32)
        rows = rows[-self._encoder.history_items :]
        query = self._encoder.read_history(self._catalogue.vectors_of(rows))
        if not query.vector.any():
            return self._cold_start(k, eligible, unknown_history=unknown)
        return self._answer(rank_history(self._catalogue, query, rows, k, eligible=eligible), unknown_history=unknown)

    def similar(
        self, product_id: str, *, k: int = 10, where: Where | None = None, exclude: Collection[str] = ()
    ) -> Recommendations:
        """Return the `k` products nearest to one product, without itself.

        Raises:
            ConfigError: an unknown product, `k` below 1, or an unknown field in `where`.
        """
        _check_count(k)
        row = self._known_row(product_id)
        eligible = self._eligible(where, [*exclude, product_id])
        vector = self._catalogue.vectors_of(np.array([row], dtype=np.int32))[0]
        return self._answer(self._catalogue.top(vector / np.linalg.norm(vector), k, eligible=eligible))

    def score(self, query: str, product_ids: Sequence[str], *, mode: Mode = "hybrid") -> Float32:
        """Return float32 [product_ids]: the scores that `search` in the same mode gives these products.

        Raises:
            ConfigError: an empty query, an unknown product or mode.
        """
        rows = self._known_rows(product_ids)
        scores = self._query_scores(query, mode)
        return scores.of(rows, mode)

    def score_parts(self, query: str, product_ids: Sequence[str]) -> tuple[Float32, Float32]:
        """Return cosines and lexical scores of products, both float32 [product_ids]: what the hybrid score mixes.

        Raises:
            ConfigError: an empty query or an unknown product.
        """
        rows = self._known_rows(product_ids)
        scores = self._query_scores(query, "hybrid")
        return scores.cosines(rows), scores.hits.of(rows)

    def explain(self, query: str, product_id: str) -> Explanation:
        """Return what each word of the query contributes to the product's hybrid score.

        Raises:
            ConfigError: an empty query or an unknown product.
        """
        row = self._known_row(product_id)
        scores = self._query_scores(query, "hybrid")
        return explain_query(
            scores, normalize_text(query), product_id, row, lexical=self._lexical, encoder=self._encoder
        )

    def explain_history(self, history: Sequence[str], product_id: str) -> HistoryExplanation:
        """Return what each product of a history contributes to the score of `product_id`.

        Raises:
            ConfigError: an unknown product, or a history without a known one.
        """
        _check_ids(history, "history")
        row = self._known_row(product_id)
        known = self._products.rows_of(history)
        items = [one for one in history if one in known][-self._encoder.history_items :]
        if not items:
            raise ConfigError("the catalogue knows no product of this history, so there is nothing to explain")
        rows = np.array([known[one] for one in items], dtype=np.int32)
        target = self._catalogue.vectors_of(np.array([row], dtype=np.int32))[0]
        return explain_history(self._encoder, self._catalogue.vectors_of(rows), items, product_id, target)

    def product(self, product_id: str) -> ProductRow:
        """Return the row of a product for display.

        Raises:
            ConfigError: an unknown product.
        """
        return self._products.product(self._known_row(product_id))

    def encode_query(self, text: str) -> Float32:
        """Return the unit vector float32 [dim] of a query; zero when the model knows no token of it.

        Raises:
            ConfigError: an empty text.
        """
        return self._encoder.encode_normalized(_checked_text(text))

    def encode_item(self, text: str) -> Float32:
        """Return the unit vector float32 [dim] of an item's text (contract/text.py: `item_text`).

        Raises:
            ConfigError: an empty text.
        """
        return self._encoder.encode_item(_checked_text(text))

    def encode_history(self, history: Sequence[str]) -> Float32:
        """Return the unit vector float32 [dim] of a history of product ids, newest last; zero when none is known.

        Raises:
            ConfigError: `history` is not a list of ids.
        """
        _check_ids(history, "history")
        known = self._products.rows_of(history)
        return self._history_vector(np.array([known[one] for one in history if one in known], dtype=np.int32))

    def prove(self) -> Proof:
        """Check that this device gives the golden answers of the bundle.

        Raises:
            GoldenMismatchError: it does not; the text names the first answer that differs.
        """
        return check_golden(self, read_golden(self.bundle.path(GOLDEN_FILE)))

    def _history_vector(self, rows: Rows) -> Float32:
        if not len(rows):
            return np.zeros(self.bundle.manifest.space.dim, dtype=np.float32)
        return self._encoder.encode_history(self._catalogue.vectors_of(rows[-self._encoder.history_items :]))

    def _query_scores(self, query: str, mode: str) -> QueryScores:
        if mode not in MODES:
            raise ConfigError(f"unknown mode {mode!r}, expected one of {', '.join(MODES)}")
        text = _checked_text(query)
        weight = self.bundle.manifest.fusion.dense_weight
        return QueryScores(
            text, mode, encoder=self._encoder, catalogue=self._catalogue, lexical=self._lexical, dense_weight=weight
        )

    def _eligible(self, where: Where | None, exclude: Collection[str]) -> Mask | None:
        if isinstance(exclude, str):
            raise ConfigError(f"exclude takes a list of product ids, found the text {exclude!r}")
        mask = self._products.matching(where) if where else None
        excluded = list(self._products.rows_of(list(exclude)).values()) if exclude else []
        if excluded:
            mask = np.ones(len(self), dtype=np.bool_) if mask is None else mask.copy()
            mask[excluded] = False
        return mask

    def _cold_start(self, k: int, eligible: Mask | None, *, unknown_history: tuple[str, ...]) -> Recommendations:
        ranked = self._products.most_popular(k, eligible=eligible)
        return Recommendations(
            self._products.ids_of(ranked.rows), ranked.scores, unknown_history=unknown_history, cold_start=True
        )

    def _answer(
        self,
        ranked: Ranked,
        *,
        corrections: Mapping[str, tuple[str, ...]] | None = None,
        unknown_history: tuple[str, ...] = (),
    ) -> Recommendations:
        ids = self._products.ids_of(ranked.rows)
        return Recommendations(ids, ranked.scores, corrections=corrections or {}, unknown_history=unknown_history)

    def _known_row(self, product_id: str) -> int:
        return int(self._known_rows([product_id])[0])

    def _known_rows(self, product_ids: Sequence[str]) -> Rows:
        _check_ids(product_ids, "product_ids")
        known = self._products.rows_of(product_ids)
        for one in product_ids:
            if one not in known:
                raise ConfigError(f"the catalogue has no product {one!r}; `search` shows which there are")
        return np.array([known[one] for one in product_ids], dtype=np.int32)


def _checked_text(text: str) -> str:
    if not isinstance(text, str):
        raise ConfigError(f"expected a text, found {type(text).__name__}")
    normalized = normalize_text(text)
    if not normalized:
        raise ConfigError("the text is empty; give at least one word, or use `recommend` for an answer without a query")
    return normalized


def _check_count(k: int) -> None:
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise ConfigError(f"k must be a whole number of at least 1, found {k!r}")


def _check_ids(product_ids: Sequence[str], name: str) -> None:
    if isinstance(product_ids, str) or not all(isinstance(one, str) for one in product_ids):
        raise ConfigError(f"{name} takes a list of product ids (texts), found {product_ids!r}")
