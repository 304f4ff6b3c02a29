"""An opened bundle: its models, catalogue and product rows, and the queries that use only one of them."""

from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from edge_runtime.contract.bundle import (
    CATALOGUE_ROWS_FILE,
    Bundle,
    open_bundle,
)
from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.product_columns import ProductRow
from edge_runtime.contract.types import Float32, Mask, Rows
from edge_runtime.inference.encoder import Encoder
from edge_runtime.products.columns import ProductColumns
from edge_runtime.products.filters import Where
from edge_runtime.products.product_rows import ProductRows
from edge_runtime.products.rows_database import RowsDatabase
from edge_runtime.search.arguments import check_ids, checked_text
from edge_runtime.search.deadline import LevelCosts
from edge_runtime.search.lexical import LexicalIndex
from edge_runtime.search.pipeline import Searcher
from edge_runtime.search.suggestions import Suggestions
from edge_runtime.search.user_profile import PersonalTaste, taste_vector
from edge_runtime.search.vector_index import Catalogue
from edge_runtime.updates.digest_check import DigestCheck


class OpenedBundle:
    """An opened bundle; may be used from any thread. `close` it, or use it as a context manager.

    Files are mapped, and stay whole for this process when a newer bundle takes their place on disk.
    """

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
            self._suggestions = Suggestions(self._database, self._lexical)
        except BaseException:
            self._database.close()
            raise
        self._columns = ProductColumns(
            self._database, products=products, attribute_names=self._products.attribute_names
        )
        self._searcher = Searcher(
            encoder=self._encoder,
            catalogue=self._catalogue,
            lexical=self._lexical,
            products=self._products,
            columns=self._columns,
            costs=LevelCosts(),
            dense_weight=bundle.manifest.fusion.dense_weight,
        )

    @classmethod
    def open(
        cls, path: Path | str, *, num_threads: int = 1, verify: bool = True, interpreter: str | None = None
    ) -> Self:
        """Open the bundle in the folder `path`.

        Args:
            path: where `manifest.json` lies.
            num_threads: threads of one model call.
            verify: compare every file with its SHA-256 (some 1.5 ms per MB): those that are run before they are loaded,
                the largest of the others in a second thread meanwhile. Nothing is answered before all are compared.
            interpreter: "litert" or "tflite-runtime"; by default the first that is installed.

        Raises:
            BundleError: the bundle is damaged, malformed or too new.
            InferenceError: the encoder cannot be run here.
        """
        bundle = open_bundle(path, verify=False, on_device=True)
        check = DigestCheck(bundle if verify else None)
        try:
            opened = cls(bundle, num_threads=num_threads, interpreter=interpreter)
        except BaseException:
            check.finish()  # a file that is not what it should be is the better reason
            raise
        try:
            check.finish()
        except BaseException:
            opened.close()
            raise
        return opened

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
        return self._encoder.encode_normalized(checked_text(text))

    def encode_item(self, text: str) -> Float32:
        """Return the unit vector float32 [dim] of an item's text (contract/text.py: `item_text`).

        Raises:
            ConfigError: an empty text.
        """
        return self._encoder.encode_item(checked_text(text))

    def encode_batch(self, texts: Sequence[str]) -> Float32:
        """Return the unit vectors float32 [texts, dim] of queries; a row is zero when the model knows no token of it.

        Raises:
            ConfigError: not a list of texts, or an empty one.
        """
        check_ids(texts, "texts")
        vectors = [self.encode_query(text) for text in texts]
        return np.stack(vectors) if vectors else np.zeros((0, self.bundle.manifest.space.dim), dtype=np.float32)

    def encode_history(self, history: Sequence[str]) -> Float32:
        """Return the unit vector float32 [dim] of a history of product ids, newest last; zero when none is known.

        Raises:
            ConfigError: `history` is not a list of ids.
        """
        check_ids(history, "history")
        known = self._products.rows_of(history)
        return self._history_vector(np.array([known[one] for one in history if one in known], dtype=np.int32))

    def taste_vector(self, taste: PersonalTaste) -> Float32:
        """Return the user's vector float32 [dim], unit length; zero when the catalogue has no product of the taste."""
        weights = taste.weights()
        rows = self._products.rows_of(list(weights))
        if not rows:
            return np.zeros(self.bundle.manifest.space.dim, dtype=np.float32)
        vectors = self._catalogue.vectors_of(np.array(list(rows.values()), dtype=np.int32))
        return taste_vector([weights[one] for one in rows], vectors)

    def _history_vector(self, rows: Rows) -> Float32:
        if not len(rows):
            return np.zeros(self.bundle.manifest.space.dim, dtype=np.float32)
        return self._encoder.encode_history(self._catalogue.vectors_of(rows[-self._encoder.history_items :]))

    def _eligible(self, where: Where | None, exclude: Collection[str]) -> Mask | None:
        if isinstance(exclude, str):
            raise ConfigError(f"exclude takes a list of product ids, found the text {exclude!r}")
        mask = self._products.matching(where) if where else None
        excluded = list(self._products.rows_of(list(exclude)).values()) if exclude else []
        if excluded:
            mask = np.ones(len(self), dtype=np.bool_) if mask is None else mask.copy()
            mask[excluded] = False
        return mask

    def _known_row(self, product_id: str) -> int:
        return int(self._known_rows([product_id])[0])

    def _known_rows(self, product_ids: Sequence[str]) -> Rows:
        check_ids(product_ids, "product_ids")
        known = self._products.rows_of(product_ids)
        for one in product_ids:
            if one not in known:
                raise ConfigError(f"the catalogue has no product {one!r}; `search` shows which there are")
        return np.array([known[one] for one in product_ids], dtype=np.int32)
