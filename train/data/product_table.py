"""Table `products`: rows -> products, and the index from product id to row for the other tables."""

import re
from collections.abc import Callable, Mapping, Sequence
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
from train.data.table_files import TableFile, load_table, shown
from train.data.tables import Product
from train.errors import ShopError

ATTRIBUTE_PREFIX = "attribute."
EXTRA_PREFIX = "extra."
MAX_ID_CHARS = 200

_REQUIRED = ("product_id", "title")
# The shop's own columns are named one by one, `extra.NAME`.
_KNOWN = {"image_vector", *(column.name for column in PRODUCT_COLUMNS if column.name != "extra")}
_FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_ADDRESS = re.compile(r"https?://[^\s\x00-\x1f<>\"]{1,2000}", re.IGNORECASE)
_CURRENCY = re.compile(r"[A-Za-z]{3}")


@dataclass(frozen=True)
class _Rule:
    """How a column's text is read (None: it is not what was expected), and what was expected, for the report."""

    read: Callable[[str], object | None]
    expected: str


# An app opens these addresses, so nothing but the web: never "javascript:" or a file.
_WEB_ADDRESS = _Rule(
    lambda text: text if _ADDRESS.fullmatch(text) else None, "an address that begins with http:// or https://"
)
_RULES = {
    "url": _WEB_ADDRESS,
    "image_url": _WEB_ADDRESS,
    "currency": _Rule(lambda text: text.upper() if _CURRENCY.fullmatch(text) else None, "three letters like EUR"),
    "in_stock": _Rule(lambda text: _FLAGS.get(text.lower()), "true or false"),
}
_JSON_OBJECT = 'a JSON object like {"color": "red"}'
_SHORT_TEXTS = ("brand", "category", "group")
_AMOUNTS = tuple(column.name for column in PRODUCT_COLUMNS if column.type == "number")


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
        ShopError: no products, a missing or repeated id, malformed attributes or picture vectors.
    """
    table = load_table(path, required=_REQUIRED)
    for column in table.columns:
        if column not in _KNOWN and not column.startswith((ATTRIBUTE_PREFIX, EXTRA_PREFIX)):
            log.note(table.name, "column is not known and was not read", repr(column))
    ids = _checked_ids(table)
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


def _checked_ids(table: TableFile) -> list[str]:
    first_row: dict[str, int] = {}
    for row, product_id in enumerate(table.ids("product_id").to_pylist()):
        if product_id is None:
            raise table.error(row, "product_id", "is empty; every product needs an id")
        if len(product_id) > MAX_ID_CHARS:
            raise table.error(
                row, "product_id", f"has {len(product_id)} characters, expected at most {MAX_ID_CHARS}; shorten it"
            )
        if product_id in first_row:
            raise ShopError(
                f"{table.path} rows {first_row[product_id] + 1} and {row + 1}: both have product_id {shown(product_id)}; "
                "ids must be distinct, remove or rename one"
            )
        first_row[product_id] = row
    return list(first_row)


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
    table: TableFile, ids: list[str], titles: list[str | None], kept: npt.NDArray[np.int64], log: DropLog
) -> tuple[Product, ...]:
    descriptions = table.texts("description").to_pylist()
    columns: dict[str, Sequence[Any]] = {
        "product_id": ids,
        "title": titles,
        "attributes": _attributes(table),
        "extra": _named_texts(table, EXTRA_PREFIX),
        **{name: [clean_short(text) for text in table.texts(name).to_pylist()] for name in _SHORT_TEXTS},
        **{name: _amounts(table, name, log) for name in _AMOUNTS},
        **{name: _checked(table, name, rule, log) for name, rule in _RULES.items()},
    }
    products = []
    for row in kept.tolist():
        description = descriptions[row]
        if description is not None and len(description) > MAX_DESCRIPTION_CHARS:
            log.note(table.name, f"description cut to {MAX_DESCRIPTION_CHARS} characters", table.place(row))
        values = {name: column[row] for name, column in columns.items()}
        products.append(Product(description=clean_long(description), **values))
    return tuple(products)


def _checked(table: TableFile, column: str, rule: _Rule, log: DropLog) -> list[Any]:
    """Return the values of a column that has a rule; what is not as expected is left out and counted."""
    found: list[Any] = [clean_short(text) for text in table.texts(column).to_pylist()]
    for row, text in enumerate(found):
        if text is not None:
            found[row] = rule.read(text)
            if found[row] is None:
                log.note(table.name, f"{column} left out: not {rule.expected}", f"{table.place(row)} ({shown(text)})")
    return found


def _amounts(table: TableFile, column: str, log: DropLog) -> list[float | None]:
    numbers, missing = table.numbers(column)
    texts = table.texts(column)
    for row in np.flatnonzero(missing | (numbers < 0)).tolist():
        if texts[row].is_valid:
            log.note(
                table.name,
                f"{column} left out: not a number of at least 0",
                f"{table.place(row)} ({shown(texts[row].as_py())})",
            )
    return [None if absent or number < 0 else number for number, absent in zip(numbers.tolist(), missing, strict=True)]


def _attributes(table: TableFile) -> list[Mapping[str, str]]:
    merged: list[dict[str, str]] = [{} for _ in range(table.rows)]
    column = table.columns.get("attributes")
    if column is not None:
        records = column.to_pylist() if pa.types.is_nested(column.type) else table.texts("attributes").to_pylist()
        for row, record in enumerate(records):
            if record is not None:
                merged[row].update(_plain_attributes(table, row, _attribute_record(table, row, record)))
    return [{**record, **single} for record, single in zip(merged, _named_texts(table, ATTRIBUTE_PREFIX), strict=True)]


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


def _attribute_record(table: TableFile, row: int, value: object) -> Mapping[object, object]:
    if isinstance(value, str):
        value = table.json(row, "attributes", value, expected=_JSON_OBJECT)
    if isinstance(value, list):  # an Arrow map comes as pairs
        try:
            return dict(value)
        except (TypeError, ValueError):
            pass
    if not isinstance(value, dict):
        raise table.error(row, "attributes", f"expected {_JSON_OBJECT}, found {shown(value)}; correct it")
    return value


def _plain_attributes(table: TableFile, row: int, record: Mapping[object, object]) -> dict[str, str]:
    plain: dict[str, str] = {}
    for key, value in record.items():
        name = clean_short(str(key))
        texts = value if isinstance(value, list) else [value]
        if any(isinstance(text, dict | list) for text in texts):
            raise table.error(
                row, "attributes", f"{shown(key)} holds {shown(value)}; expected a text, a number or a list of them"
            )
        joined = clean_short(", ".join(_attribute_text(text) for text in texts if text is not None))
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
    rows = (
        column.to_pylist()
        if pa.types.is_nested(column.type)
        else [
            None
            if text is None
            else table.json(row, "image_vector", text, expected="a list of numbers like [0.1, 0.2]")
            for row, text in enumerate(table.texts("image_vector").to_pylist())
        ]
    )
    width: int | None = None
    vectors: list[npt.NDArray[np.float32] | None] = []
    for row, values in enumerate(rows):
        if values is None:
            vectors.append(None)
            log.note(table.name, "no picture vector: zeros stand for it", table.place(row))
            continue
        vector = _vector(table, row, values)
        width = len(vector) if width is None else width
        if len(vector) != width:
            raise table.error(
                row, "image_vector", f"has {len(vector)} numbers where earlier rows have {width}; one width is needed"
            )
        vectors.append(vector)
    empty = np.zeros(width or 0, dtype=np.float32)
    return np.stack([empty if vector is None else vector for vector in vectors])[kept]


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


def _vector(table: TableFile, row: int, values: object) -> npt.NDArray[np.float32]:
    try:
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused below
            vector = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise table.error(row, "image_vector", f"expected a list of numbers, found {shown(values)}") from error
    if vector.ndim != 1 or vector.size == 0 or not np.isfinite(vector).all():
        raise table.error(row, "image_vector", f"expected a list of finite numbers, found {shown(values)}")
    return vector
