"""Rows of `catalogue.sqlite` by product id, by filter, by popularity."""

import functools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from edge_runtime.contract.errors import BundleFormatError
from edge_runtime.contract.product_columns import PRODUCT_COLUMNS, ProductColumn, ProductRow
from edge_runtime.contract.types import Float32, Mask, Rows
from edge_runtime.products.filters import SqlFilter, Where, compile_where
from edge_runtime.products.rows_database import RowsDatabase
from edge_runtime.search.ranking import Ranked, best_rows

_CACHED_FILTERS = 32  # the filters of one visit; each takes a byte a product


def _shown(value: Any, column: ProductColumn, row: int) -> Any:
    if column.type == "texts":
        try:
            return json.loads(value)
        except ValueError as error:
            raise BundleFormatError(
                f"{column.name} of row {row} are not JSON ({error}); get the bundle again"
            ) from error
    return bool(value) if column.type == "flag" else value


class ProductRows:
    """The product table of a bundle; may be used from any thread."""

    def __init__(self, database: RowsDatabase, *, products: int) -> None:
        """Check the table's length.

        Raises:
            BundleFormatError: the table does not have rows 0 … `products` - 1.
        """
        self._database = database
        self._products = products
        self._columns = [column for column in PRODUCT_COLUMNS if column.stored in database.product_columns]
        # Each asked for itself: the count runs over the index of the ids, the ends are looked up; together they read every row.
        found = database.fetch(
            "SELECT (SELECT count(*) FROM products), (SELECT min(row) FROM products), (SELECT max(row) FROM products)"
        )[0]
        if found != (products, 0, products - 1):
            raise BundleFormatError(
                f"the product table has {found[0]} rows from {found[1]} to {found[2]}, the manifest says {products} "
                "from 0; get the bundle again"
            )
        self._masks = functools.lru_cache(maxsize=_CACHED_FILTERS)(self._read_mask)
        self.attribute_names = functools.cache(
            lambda: frozenset(name for (name,) in database.fetch("SELECT name FROM attribute_names"))
        )
        self.popularity = functools.cache(self._read_popularity)
        self._order = functools.cache(self._read_order)

    def rows_of(self, product_ids: Sequence[str]) -> dict[str, int]:
        """Return the row of each product that the catalogue knows; others are left out."""
        texts = [one.encode("utf-8", "replace").decode() for one in product_ids]
        sql = "SELECT product_id, row FROM products WHERE product_id IN ({})"
        return dict(self._database.fetch_by_keys(sql, texts))

    def ids_of(self, rows: Rows) -> tuple[str, ...]:
        """Return the product ids of `rows`, in their order."""
        sql = "SELECT row, product_id FROM products WHERE row IN ({})"
        found = dict(self._database.fetch_by_keys(sql, rows.tolist()))
        return tuple(found[row] for row in rows.tolist())

    def product(self, row: int) -> ProductRow:
        """Return one row for display."""
        names = ", ".join(column.stored for column in self._columns)
        found = self._database.fetch(f"SELECT {names} FROM products WHERE row = ?", (row,))[0]  # noqa: S608 - our own columns
        values = zip(self._columns, found, strict=True)
        return ProductRow(**{column.name: _shown(value, column, row) for column, value in values if value is not None})

    def matching(self, where: Where) -> Mask:
        """Return bool [products], read-only: which rows fulfil the filter.

        Raises:
            ConfigError: an unknown field, or a value of the wrong kind.
        """
        return self._masks(
            compile_where(where, attribute_names=self.attribute_names, stored=self._database.product_columns)
        )

    def most_popular(self, count: int, *, eligible: Mask | None = None) -> Ranked:
        """Return the most popular rows, ties by row; the scores are the popularity that the builder gave."""
        rows = self._order()
        if eligible is not None:
            rows = rows[eligible[rows]]
        return Ranked(rows[:count], self.popularity()[rows[:count]])

    def _read_mask(self, condition: SqlFilter) -> Mask:
        sql = f"SELECT row FROM products WHERE {condition.condition}"  # noqa: S608 - made of our words and marks only
        mask = np.zeros(self._products, dtype=np.bool_)
        mask[[row for (row,) in self._database.fetch(sql, condition.parameters)]] = True
        mask.setflags(write=False)
        return mask

    def _read_popularity(self) -> Float32:
        values = self._database.fetch("SELECT popularity FROM products ORDER BY row")
        return np.array([value for (value,) in values], dtype=np.float32)

    def _read_order(self) -> Rows:
        """Return all rows, the most popular first, ties by row."""
        return best_rows(np.arange(self._products, dtype=np.int32), self.popularity(), self._products).rows
