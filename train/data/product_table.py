"""Table `products`: rows -> products, and the index from product id to row for the other tables."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from edge_runtime.contract.product_columns import PRODUCT_COLUMNS
from edge_runtime.contract.text import MAX_TEXT_CHARS
from train.data.cleaning import (
    MAX_DESCRIPTION_CHARS,
    DropLog,
    clean_long,
    clean_short,
    note_duplicates,
    repair_encoding,
)
from train.data.column_rules import ColumnRule, Values, cells, decoded, numbers, read_column, refuse, texts
from train.data.table_files import TableFile, load_table, shown
from train.data.tables import Product
from train.errors import ShopError

ATTRIBUTE_PREFIX = "attribute."
EXTRA_PREFIX = "extra."
MAX_ID_CHARS = 200
"""Ids are keys of the device's database and stand in every event; longer ones are addresses or texts by mistake."""

_REQUIRED = ("product_id", "title")
# The shop's own columns are named one by one, `extra.NAME`.
_KNOWN = {"image_vector", *(column.name for column in PRODUCT_COLUMNS if column.name != "extra")}
_FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
# 2,000 characters is about what browsers and servers agree to take as an address.
_ADDRESS = re.compile(r"https?://[^\s\x00-\x1f<>\"]{1,2000}", re.IGNORECASE)
_CURRENCY = re.compile(r"[A-Za-z]{3}")


@dataclass(frozen=True)
class ProductTable:
    """What the table `products` gives: products, ids as an Arrow array in the same order, and picture vectors.

    `image_vectors` is float32 [products, width], or None when the table has no such column.
    """

    products: tuple[Product, ...]
    ids: pa.Array
    image_vectors: npt.NDArray[np.float32] | None


def read_products(path: Path, log: DropLog) -> ProductTable:
    """Read and clean the products in the file at `path`.

    Raises:
        ShopError: the file cannot be read, or holds no product. Ids that are missing or repeated, and malformed
            attributes or picture vectors, are refused in `log`.
    """
    table = load_table(path, required=_REQUIRED)
    for column in table.columns:
        if column not in _KNOWN and not column.startswith((ATTRIBUTE_PREFIX, EXTRA_PREFIX)):
            log.note(table.name, "column is not known and was not read", repr(column))
    ids = table.ids("product_id").to_pylist()
    _check_ids(table, ids, log)
    titles = _titles(table, log)
    kept = np.array([row for row, title in enumerate(titles) if title is not None], dtype=np.int64)
    if kept.size == 0:
        what = "no rows" if table.rows == 0 else f"{table.rows} rows and not one title"
        raise ShopError(f"{path} has {what}; a shop needs at least one product")
    vectors = _image_vectors(table, kept, log)
    products = _products(table, ids, titles, kept, log)
    note_duplicates(products, [table.place(int(row)) for row in kept], table.name, log)
    return ProductTable(
        products=products,
        ids=pa.array([product.product_id for product in products], pa.string()),
        image_vectors=vectors,
    )


def _check_ids(table: TableFile, ids: list[str | None], log: DropLog) -> None:
    """Refuse ids that are missing, too long or repeated."""
    read_column(table, "product_id", _PRODUCT_ID, log)
    first_row: dict[str, int] = {}
    for row, product_id in enumerate(ids):
        if product_id is not None and first_row.setdefault(product_id, row) != row:
            problem = f"{shown(product_id)} is the id of row {first_row[product_id] + 1} too; remove or rename one"
            refuse(table, row, "product_id", problem, log)


def _titles(table: TableFile, log: DropLog) -> list[str | None]:
    titles: list[str | None] = []
    for row, raw in enumerate(table.texts("title").to_pylist()):
        title = clean_short(raw)
        if title is None:
            log.note(table.name, "left out: no title", table.place(row))
        else:
            _note_changes(table, "title", row, raw, MAX_TEXT_CHARS, log)
        titles.append(title)
    return titles


def _note_changes(table: TableFile, column: str, row: int, raw: str, limit: int, log: DropLog) -> None:
    if len(raw) > limit:
        log.note(table.name, f"{column} cut to {limit} characters", table.place(row))
    if "\0" in raw:
        log.note(table.name, f"{column} cleaned of NUL characters", table.place(row))
    if repair_encoding(raw[:limit]) != raw[:limit]:
        log.note(table.name, f"{column} repaired: it was decoded with the wrong character set", table.place(row))


def _products(
    table: TableFile, ids: list[str | None], titles: list[str | None], kept: npt.NDArray[np.int64], log: DropLog
) -> tuple[Product, ...]:
    descriptions = table.texts("description").to_pylist()
    columns: dict[str, Sequence[Any]] = {
        "product_id": ids,
        "title": titles,
        "attributes": _attributes(table, log),
        "extra": _named_texts(table, EXTRA_PREFIX),
        **{name: [clean_short(text) for text in table.texts(name).to_pylist()] for name in _PLAIN_TEXTS},
        **{name: _known(read_column(table, name, rule, log)) for name, rule in _RULES.items()},
    }
    products = []
    for row in kept.tolist():
        description = descriptions[row]
        if description is not None and len(description) > MAX_DESCRIPTION_CHARS:
            log.note(table.name, f"description cut to {MAX_DESCRIPTION_CHARS} characters", table.place(row))
        values = {name: column[row] for name, column in columns.items()}
        products.append(Product(description=clean_long(description), **values))
    return tuple(products)


def _known(values: Values) -> Sequence[Any]:
    """Return the values with None in place of NaN."""
    if not isinstance(values, np.ndarray):
        return values
    return [None if missing else value for value, missing in zip(values.tolist(), np.isnan(values), strict=True)]


def _attributes(table: TableFile, log: DropLog) -> list[Mapping[str, str]]:
    records = read_column(table, "attributes", _ATTRIBUTES, log)
    singles = _named_texts(table, ATTRIBUTE_PREFIX)
    return [{**(record or {}), **single} for record, single in zip(records, singles, strict=True)]


def _named_texts(table: TableFile, prefix: str) -> list[dict[str, str]]:
    """Return for each row the texts of the columns `prefix` + NAME, by NAME."""
    rows: list[dict[str, str]] = [{} for _ in range(table.rows)]
    for column in table.columns:
        if column.startswith(prefix) and column != prefix:
            for row, text in enumerate(table.texts(column).to_pylist()):
                value = clean_short(text)
                if value is not None:
                    rows[row][column.removeprefix(prefix)] = value
    return rows


def _read_attributes(cell: object) -> dict[str, str] | None:
    """Return the attributes of a cell as texts; None when it is no object of texts, numbers and lists of them."""
    record = decoded(cell)
    if isinstance(record, list):  # an Arrow map comes as pairs
        try:
            record = dict(record)
        except (TypeError, ValueError):
            return None
    if not isinstance(record, dict):
        return None
    plain: dict[str, str] = {}
    for key, value in record.items():
        name = clean_short(str(key))
        texts_of = value if isinstance(value, list) else [value]
        if any(isinstance(text, dict | list) for text in texts_of):
            return None
        joined = clean_short(", ".join(_attribute_text(text) for text in texts_of if text is not None))
        if name is not None and joined is not None:
            plain[name] = joined
    return plain


def _attribute_text(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _image_vectors(table: TableFile, kept: npt.NDArray[np.int64], log: DropLog) -> npt.NDArray[np.float32] | None:
    column = table.columns.get("image_vector")
    if column is None or column.null_count == len(column):
        return None
    matrix = _even_vectors(column)
    if matrix is not None:
        return matrix[kept]
    vectors = read_column(table, "image_vector", _IMAGE_VECTOR, log)
    first = next((row for row, vector in enumerate(vectors) if vector is not None and vector.size), None)
    width = 0 if first is None else len(vectors[first])
    matrix = np.zeros((table.rows, width), dtype=np.float32)
    empty = table.empty("image_vector")
    for row, vector in enumerate(vectors):
        if empty[row] or (vector is not None and not vector.size):
            log.note(table.name, "no picture vector: zeros stand for it", table.place(row))
        elif vector is not None and len(vector) == width:
            matrix[row] = vector
        elif vector is not None:
            problem = f"has {len(vector)} numbers where earlier rows have {width}; one width is needed"
            refuse(table, row, "image_vector", problem, log)
    return matrix[kept]


def _even_vectors(column: pa.Array) -> npt.NDArray[np.float32] | None:
    """Return the matrix of a faultless list column without a Python object for each number; None for any other."""
    if (
        not pa.types.is_nested(column.type)
        or column.null_count
        or pa.types.is_struct(column.type)
        or pa.types.is_map(column.type)
    ):
        return None
    numbers, lengths = column.flatten(), pc.list_value_length(column).unique()
    if len(lengths) != 1 or not lengths[0].as_py() or not pa.types.is_floating(numbers.type) or numbers.null_count:
        return None
    with np.errstate(over="ignore"):
        matrix = np.asarray(numbers.to_numpy(zero_copy_only=False), dtype=np.float32).reshape(len(column), -1)
    return matrix if np.isfinite(matrix).all() else None


def _read_vector(cell: object) -> npt.NDArray[np.float32] | None:
    """Return the vector of a cell, of no numbers where JSON says null; None when it is no list of finite numbers."""
    values = decoded(cell)
    if values is None:
        return np.zeros(0, dtype=np.float32)
    try:
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused below
            vector = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError, OverflowError):
        return None
    return vector if vector.ndim == 1 and vector.size and np.isfinite(vector).all() else None


def _web_address(text: str) -> str | None:
    # An app opens these addresses, so nothing but the web: never "javascript:" or a file.
    return found if (found := clean_short(text)) and _ADDRESS.fullmatch(found) else None


def _currency(text: str) -> str | None:
    return found.upper() if (found := clean_short(text)) and _CURRENCY.fullmatch(found) else None


def _flag(text: str) -> bool | None:
    return _FLAGS.get((clean_short(text) or "").lower())


_WEB_ADDRESS = ColumnRule("an address that begins with http:// or https://", texts(_web_address), is_refused=False)
_RULES = {
    **{
        column.name: ColumnRule("a number of at least 0", numbers(0), is_refused=False)
        for column in PRODUCT_COLUMNS
        if column.type == "number"
    },
    "url": _WEB_ADDRESS,
    "image_url": _WEB_ADDRESS,
    "currency": ColumnRule("three letters like EUR", texts(_currency), is_refused=False),
    **{
        column.name: ColumnRule("true or false", texts(_flag), is_refused=False)
        for column in PRODUCT_COLUMNS
        if column.type == "flag"
    },
}
_PLAIN_TEXTS = tuple(
    column.name
    for column in PRODUCT_COLUMNS
    if column.type == "text" and column.name not in {"product_id", "title", "description", *_RULES}
)
"""Texts that any short text fits."""
_PRODUCT_ID = ColumnRule(
    f"an id of 1 to {MAX_ID_CHARS} characters",
    lambda table, column: [
        text if text is not None and len(text) <= MAX_ID_CHARS else None for text in table.ids(column).to_pylist()
    ],
    is_required=True,
)
_ATTRIBUTES = ColumnRule(
    'a JSON object like {"color": "red"} of texts, numbers and lists of them', cells(_read_attributes)
)
_IMAGE_VECTOR = ColumnRule("a list of finite numbers like [0.1, 0.2]", cells(_read_vector))
