"""Filters: what they select, what they refuse, and that values stay values."""

import contextlib
import sqlite3
from collections.abc import Iterator

import numpy as np
import pytest

from edge_runtime.contract.bundle import CATALOGUE_ROWS_FILE
from edge_runtime.contract.errors import BundleFormatError, ConfigError
from edge_runtime.products.product_rows import ProductRows
from edge_runtime.products.rows_database import RowsDatabase
from tests.support.toy_bundle import make_toy_bundle
from tests.support.toy_shop import toy_products

PRODUCTS = toy_products()


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RowsDatabase]:
    opened = RowsDatabase(make_toy_bundle(tmp_path_factory.mktemp("bundle")).path(CATALOGUE_ROWS_FILE))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def rows(database: RowsDatabase) -> ProductRows:
    return ProductRows(database, products=len(PRODUCTS))


CASES = [
    ({"brand": "acme"}, lambda p: p.brand == "acme"),
    ({"brand": "ACME"}, lambda p: p.brand == "acme"),
    ({"brand": ["acme", "casa"]}, lambda p: p.brand in ("acme", "casa")),
    ({"brand": []}, lambda p: False),
    ({"brand": "' OR 1 --"}, lambda p: False),
    ({"category": "home"}, lambda p: p.category.startswith("home >")),
    ({"category": "Home > light"}, lambda p: p.category == "home > light"),
    ({"category": ["kitchen", "clothing"]}, lambda p: p.category in ("kitchen", "clothing")),
    ({"category": "hom"}, lambda p: False),
    ({"group": "seller-1"}, lambda p: p.group == "seller-1"),
    ({"product_id": ["p1", "p2"]}, lambda p: p.product_id in ("p1", "p2")),
    ({"product_id": "P1"}, lambda p: False),
    ({"price": 7}, lambda p: p.price == 7),
    ({"price": [7, 8.0]}, lambda p: p.price in (7, 8)),
    ({"price": {"lt": 20, "gte": 5}}, lambda p: p.price is not None and 5 <= p.price < 20),
    ({"price": {"gt": 5, "lte": 6}}, lambda p: p.price == 6),
    ({"attributes.color": "red"}, lambda p: p.attributes["color"] == "red"),
    ({"attributes.color": ["RED", "blue"]}, lambda p: p.attributes["color"] in ("red", "blue")),
    ({"attributes.color": "red", "price": {"lt": 11}}, lambda p: p.attributes["color"] == "red" and (p.price or 99) < 11),
    ({}, lambda p: True),
]  # fmt: skip


@pytest.mark.parametrize(("where", "expected"), CASES)
def test_filter_selects_as_plain_python_does(rows: ProductRows, where, expected) -> None:
    assert rows.matching(where).tolist() == [bool(expected(product)) for product in PRODUCTS]


def test_mask_cannot_be_changed_by_its_user(rows: ProductRows) -> None:
    with pytest.raises(ValueError, match="read-only"):
        rows.matching({"brand": "acme"})[0] = True


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ({"colour": "red"}, "known fields are attributes.color, attributes.material, brand"),
        ({"attributes.size": "L"}, "cannot filter by 'attributes.size'"),
        ({7: "x"}, "cannot filter by 7"),
        ({"brand": 7}, "takes a text"),
        ({"brand": {"lt": 1}}, "takes a text"),
        ({"price": "cheap"}, "finite number"),
        ({"price": True}, "finite number"),
        ({"price": float("nan")}, "finite number"),
        ({"price": 10**400}, "finite number"),
        ({"price": {}}, "a price range has lt, lte, gt, gte"),
        ({"price": {"below": 3}}, "found \\['below'\\]"),
        (["brand"], "a filter is a mapping"),
    ],
)
def test_wrong_filter_is_refused_in_words(rows: ProductRows, where, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        rows.matching(where)


def test_list_of_any_length_is_one_parameter(rows: ProductRows) -> None:
    assert rows.matching({"product_id": [f"p{number}" for number in range(100_000)]}).all()


def test_ids_and_rows_go_both_ways_in_portions(rows: ProductRows) -> None:
    known = rows.rows_of([*(f"p{number}" for number in range(2_000)), "\ud800"])
    assert known == {f"p{row}": row for row in range(30)}
    assert rows.ids_of(np.array([4, 0, 4], dtype=np.int32)) == ("p4", "p0", "p4")


def test_attributes_that_are_not_json_are_a_bundle_error(tmp_path) -> None:
    path = make_toy_bundle(tmp_path).path(CATALOGUE_ROWS_FILE)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE products SET attributes = 'red' WHERE row = 3")
    opened = RowsDatabase(path)
    with pytest.raises(BundleFormatError, match="attributes of row 3 are not JSON"):
        ProductRows(opened, products=30).product(3)
    opened.close()


def test_table_of_another_length_than_the_manifest_is_refused(database: RowsDatabase) -> None:
    with pytest.raises(BundleFormatError, match="has 30 rows from 0 to 29, the manifest says 31"):
        ProductRows(database, products=31)


def test_table_with_a_gap_is_refused(tmp_path) -> None:
    path = make_toy_bundle(tmp_path).path(CATALOGUE_ROWS_FILE)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE products SET row = 30 WHERE row = 3")
    opened = RowsDatabase(path)
    with pytest.raises(BundleFormatError, match="has 30 rows from 0 to 30, the manifest says 30"):
        ProductRows(opened, products=30)
    opened.close()
