"""WANDS, the Wayfair product search relevance data set (Chen et al. 2022, MIT) -> a shop."""

from pathlib import Path

import pyarrow as pa

from train.data import column_rules
from train.data.column_rules import ColumnRule, require_column
from train.data.importers.source_files import RemoteFile, require_file
from train.data.table_files import TableFile, load_table, shown
from train.errors import ShopError

GAINS = {"exact": 1.0, "partial": 0.5, "irrelevant": 0.0}
_LABEL = ColumnRule(
    "Exact, Partial or Irrelevant", column_rules.texts(lambda text: GAINS.get(text.strip().lower())), is_required=True
)

_BASE_URL = "https://raw.githubusercontent.com/wayfair/WANDS/main/dataset/"
FILES = tuple(
    RemoteFile(name=f"{name}.csv", url=f"{_BASE_URL}{name}.csv", sha256=None, max_bytes=max_bytes)
    for name, max_bytes in (("product", 200_000_000), ("query", 1_000_000), ("label", 50_000_000))
)

# Of some hundred features a product (most of them measures), what people search by.
_SEARCHED_FEATURES = ("color", "material", "style", "pattern", "finish", "shape")
# The model reads only the beginning of a product's text, so further attributes would hardly be read.
_MAX_ATTRIBUTES = 6


def import_wands(source: Path) -> dict[str, pa.Table]:
    """Return the tables of the shop from the publisher's `product`, `query` and `label` files in `source`.

    Gains: Exact 1, Partial 0.5, Irrelevant 0.

    Raises:
        ShopError: a file or column is missing, a label is unknown, or a label names a query that is not there.
    """
    products = _load(source, "product", ("product_id", "product_name"))
    queries = _load(source, "query", ("query_id", "query"))
    labels = _load(source, "label", ("query_id", "product_id", "label"))
    return {"products": _products(products), "judgements": _judgements(queries, labels)}


def _load(source: Path, name: str, required: tuple[str, ...]) -> TableFile:
    path = require_file(source, f"{name}.csv", f"{name}.parquet")
    return load_table(path, required=required, separator="\t")


def _products(table: TableFile) -> pa.Table:
    categories = [path and path.replace(" / ", " > ") for path in table.texts("category hierarchy").to_pylist()]
    features = [_searched_features(text) for text in table.texts("product_features").to_pylist()]
    attributes = pa.array([list(found.items()) for found in features], pa.map_(pa.string(), pa.string()))
    return pa.table(
        {
            "product_id": table.ids("product_id"),
            "title": table.texts("product_name"),
            "description": table.texts("product_description"),
            "category": pa.array(categories, pa.string()),
            "attributes": attributes,
        }
    )


def _searched_features(text: str | None) -> dict[str, str]:
    """Pick from "name:value|name:value"; a name that stands several times keeps its first value."""
    found: dict[str, str] = {}
    for part in (text or "").split("|"):
        name, colon, value = (piece.strip() for piece in part.partition(":"))
        if colon and value and any(word in name.lower() for word in _SEARCHED_FEATURES):
            found.setdefault(name, value)
        if len(found) == _MAX_ATTRIBUTES:
            break
    return found


def _judgements(queries: TableFile, labels: TableFile) -> pa.Table:
    texts = dict(zip(queries.ids("query_id").to_pylist(), queries.texts("query").to_pylist(), strict=True))
    asked: list[str | None] = []
    for row, query_id in enumerate(labels.ids("query_id").to_pylist()):
        if query_id not in texts:
            raise labels.error(
                row, "query_id", f"{shown(query_id)} does not stand in {queries.name}; get both files again"
            )
        asked.append(texts[query_id])
    gains = require_column(labels, "label", _LABEL)
    if not gains:
        raise ShopError(f"{labels.path} has no rows; get it again")
    return pa.table({"query": pa.array(asked, pa.string()), "product_id": labels.ids("product_id"), "gain": gains})
