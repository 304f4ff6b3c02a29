"""Columns of the product table as arrays: what facets count and sorting compares. Read when first asked for."""

import functools
import string
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.product_columns import PRODUCT_COLUMNS
from edge_runtime.contract.types import Float64, Int32, Mask
from edge_runtime.products.filters import ATTRIBUTE_PREFIX
from edge_runtime.products.rows_database import RowsDatabase

_COUNTED = {column.name: column for column in PRODUCT_COLUMNS if column.facets}
NUMBERS = {column.name: column for column in PRODUCT_COLUMNS if column.type == "number"}
_CACHED_COLUMNS = 16  # more than a page shows facets; a column takes 4 bytes a product
_LOWERED = {ord(letter): letter.lower() for letter in string.ascii_uppercase}

LEVEL = " > "
"""Between a category and one below it."""


@dataclass(frozen=True, eq=False)
class TextColumn:
    """One text per row: `codes` int32 [products] index `values`, -1 where the product has none."""

    codes: Int32
    values: tuple[str, ...]

    @functools.cached_property
    def names(self) -> tuple[tuple[str, ...], tuple[npt.NDArray[np.intp], ...]]:
        """How values are shown, and by level which of these names each value belongs to, -1 where it has no such level.

        Values that differ only in ASCII case are one, as the filter takes them; the catalogue's first one is shown. The
        levels of "Home > Light" are "Home" and "Home > Light".
        """
        numbers: dict[str, int] = {}
        shown: list[str] = []
        levels: list[npt.NDArray[np.intp]] = []
        for code, value in enumerate(self.values):
            parts = value.split(LEVEL)
            for depth in range(len(parts)):
                path = LEVEL.join(parts[: depth + 1])
                number = numbers.setdefault(path.translate(_LOWERED), len(shown))
                if number == len(shown):
                    shown.append(path)
                if depth == len(levels):
                    levels.append(np.full(len(self.values), -1, dtype=np.intp))
                levels[depth][code] = number
        return tuple(shown), tuple(levels)

    def counted(self, rows: Mask, *, by_level: bool) -> dict[str, int]:
        """Return the number of `rows` (bool [products]) by name; `by_level` counts a value for all levels above it too."""
        codes = self.codes[rows]
        found = np.bincount(codes[codes >= 0], minlength=len(self.values))
        shown, levels = self.names
        counts = np.zeros(len(shown), dtype=np.int64)
        deepest = np.full(len(self.values), -1, dtype=np.intp)
        for level in levels:
            kept = level >= 0
            deepest[kept] = level[kept]
            if by_level:
                np.add.at(counts, level[kept], found[kept])
        if not by_level:
            np.add.at(counts, deepest, found)
        return {shown[number]: int(counts[number]) for number in np.flatnonzero(counts).tolist()}


class ProductColumns:
    """Columns of one catalogue; may be used from any thread."""

    def __init__(
        self, database: RowsDatabase, *, products: int, attribute_names: Callable[[], Collection[str]]
    ) -> None:
        """Remember where the columns are; nothing is read yet."""
        self._database = database
        self._products = products
        self._attribute_names = attribute_names
        self.text = functools.lru_cache(maxsize=_CACHED_COLUMNS)(self._read_text)
        self.numbers = functools.cache(self._read_numbers)
        self.title_order = functools.cache(self._read_title_order)

    def check_field(self, field: str) -> None:
        """Check that products can be counted by `field`.

        Raises:
            ConfigError: they cannot.
        """
        known = [*_COUNTED, *(f"{ATTRIBUTE_PREFIX}{name}" for name in sorted(self._attribute_names()))]
        if field not in known:
            shown = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
            raise ConfigError(f"cannot count products by {field!r}; known fields are {shown}")

    def _read_text(self, field: str) -> TextColumn:
        """Return a text column, values in the order of their first row."""
        if field in _COUNTED:
            sql = f"SELECT row, {_COUNTED[field].stored} FROM products"  # noqa: S608 - our own columns
            found = self._database.fetch(sql)
        else:
            sql = "SELECT row, value FROM products, json_each(attributes) AS one WHERE one.key = ?"
            found = self._database.fetch(sql, (field.removeprefix(ATTRIBUTE_PREFIX),))
        numbers: dict[str, int] = {}
        codes = np.full(self._products, -1, dtype=np.int32)
        for row, value in found:
            if value:
                codes[row] = numbers.setdefault(str(value), len(numbers))
        return TextColumn(codes, tuple(numbers))

    def _read_numbers(self, field: str) -> Float64:
        """Return a column of numbers, float64 [products], NaN where a product has none."""
        stored = NUMBERS[field].stored
        if stored not in self._database.product_columns:
            return np.full(self._products, np.nan)
        found = self._database.fetch(f"SELECT {stored} FROM products ORDER BY row")  # noqa: S608 - our own columns
        return np.array([np.nan if value is None else value for (value,) in found], dtype=np.float64)

    def _read_title_order(self) -> Int32:
        """Return int32 [products]: the place of each row when titles are in alphabetical order."""
        found = self._database.fetch("SELECT row FROM products ORDER BY title COLLATE NOCASE, row")
        places = np.empty(self._products, dtype=np.int32)
        places[[row for (row,) in found]] = np.arange(len(found), dtype=np.int32)
        return places
