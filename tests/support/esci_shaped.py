"""Small tables in the form of the ESCI protocol, over the thirty toy products."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.search.esci_protocol import CATALOGUE_GROUP
from tests.support.toy_shop import toy_products
from train.data.splits import query_fold
from train.data.tables import Product

QUERIES = ("red lamp", "blue mug", "green wooden chair", "black candle", "white cotton shirt", "steel table for kids")
TEST_FOLD = query_fold(QUERIES[0])
NEAR_COPY = "lamp red"


def esci_products() -> tuple[Product, ...]:
    return tuple(replace(product, group=CATALOGUE_GROUP) for product in toy_products())


def write_esci_shaped(folder: Path) -> None:
    products = toy_products()
    _write(
        folder / "esci_us/products.parquet",
        [
            {
                "asin": product.product_id,
                "title": product.title,
                "description": product.description,
                "bullet_points": "sturdy" if row % 2 else "",
                "brand": product.brand,
                "color": product.attributes["color"],
                "category": '["Home", "Light"]' if row % 2 else "[]",
            }
            for row, product in enumerate(products)
        ],
    )
    labels = ("E", "S", "C", "I")
    _write(
        folder / "esci_us/judgments.parquet",
        [
            {"query": query, "product_id": f"p{(5 * number + step) % 30}", "esci_label": labels[step % 4]}
            for number, query in enumerate(QUERIES)
            for step in range(8)
        ],
    )
    _write(
        folder / "esci_us/extra_exact_pairs_unjudged_queries.parquet",
        [
            {"query": NEAR_COPY, "product_id": "p0", "in_judged_query": False},
            {"query": "acme gift set", "product_id": "p1", "in_judged_query": False},
            {"query": QUERIES[1], "product_id": "p2", "in_judged_query": True},
        ],
    )
    _write(
        folder / "esci_pairs/pairs_us.parquet",
        [
            _pair("the red lamp", "x1", "S"),
            _pair("smart steel mug", "x2", "E"),
            _pair("small casa mug", "p3", "C"),
            _pair(QUERIES[0], "x3", "E", marked=True),
        ],
    )
    _write(folder / "wands_queries/query.parquet", [{"query": "a red lamp"}, {"query": "nordic furniture"}])


def _pair(query: str, product_id: str, label: str, *, marked: bool = False) -> dict[str, object]:
    return {
        "query": query,
        "product_id": product_id,
        "esci_label": label,
        "product_title": f"other {product_id}",
        "product_description": None,
        "product_bullet_point": "light",
        "product_brand": "acme",
        "product_color": None,
        "query_in_esci_us_small": marked,
    }


def _write(path: Path, rows: Sequence[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path)
