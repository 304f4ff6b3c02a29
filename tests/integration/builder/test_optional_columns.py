"""Optional columns of a product: from the shop's table to the device's rows, filters, orders and facets."""

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest

from compress.catalogue.rows import write_catalogue_rows
from edge_runtime.contract.bundle import CATALOGUE_ROWS_FILE
from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.product_columns import PRODUCT_COLUMNS, ProductRow
from edge_runtime.products.columns import ProductColumns
from edge_runtime.products.facets import count_values
from edge_runtime.products.product_rows import ProductRows
from edge_runtime.products.rows_database import RowsDatabase
from tests.support.toy_shop import toy_products
from train.data.reading import read_shop, shop_digest
from train.data.tables import Product

TABLE = """product_id,title,url,image_url,currency,in_stock,rating,extra.Care label,attribute.color
p1,red lamp,https://shop.example/p1,https://shop.example/p1.jpg,eur,yes,4.5,dust it,red
p2,blue lamp,javascript:alert(1),,euros,0,2,,blue
p3,mug,,,,maybe,-1,,
"""


@pytest.fixture
def shop(tmp_path: Path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "products.csv").write_text(TABLE)
    return read_shop(tmp_path / "shop")


@pytest.fixture
def database(tmp_path: Path, shop) -> Iterator[RowsDatabase]:
    write_catalogue_rows(tmp_path, shop.products)
    opened = RowsDatabase(tmp_path / CATALOGUE_ROWS_FILE)
    yield opened
    opened.close()


@pytest.fixture
def rows(database: RowsDatabase) -> ProductRows:
    return ProductRows(database, products=3)


def test_product_and_row_have_the_columns_of_the_schema() -> None:
    names = [column.name for column in PRODUCT_COLUMNS]
    assert [one.name for one in fields(Product)] == names
    assert [one.name for one in fields(ProductRow)] == names


def test_device_shows_what_the_table_says(rows: ProductRows) -> None:
    assert rows.product(0) == ProductRow(
        product_id="p1",
        title="red lamp",
        attributes={"color": "red"},
        url="https://shop.example/p1",
        image_url="https://shop.example/p1.jpg",
        currency="EUR",
        in_stock=True,
        rating=4.5,
        extra={"Care label": "dust it"},
    )
    assert rows.product(1).in_stock is False and rows.product(1).extra == {}
    assert rows.product(2) == ProductRow("p3", "mug")


def test_values_that_are_none_are_left_out_and_counted(shop) -> None:
    assert {one.reason: one.examples for one in shop.dropped} == {
        "url left out: not an address that begins with http:// or https://": (
            "products.csv row 2 ('javascript:alert(1)')",
        ),
        "currency left out: not three letters like EUR": ("products.csv row 2 ('euros')",),
        "in_stock left out: not true or false": ("products.csv row 3 ('maybe')",),
        "rating left out: not a number of at least 0": ("products.csv row 3 ('-1')",),
    }


def test_stock_and_rating_filter(rows: ProductRows) -> None:
    assert rows.matching({"in_stock": True}).tolist() == [True, False, False]
    assert rows.matching({"in_stock": False}).tolist() == [False, True, False]
    assert rows.matching({"rating": {"gte": 3}}).tolist() == [True, False, False]
    with pytest.raises(ConfigError, match="the filter in_stock is true or false, found 'yes'"):
        rows.matching({"in_stock": "yes"})


@pytest.mark.parametrize("field", ["url", "image_url", "currency", "extra"])
def test_columns_for_display_do_not_filter(rows: ProductRows, field: str) -> None:
    with pytest.raises(ConfigError, match=f"cannot filter by '{field}'"):
        rows.matching({field: "EUR"})


def test_ratings_are_counted_in_ranges_whose_filter_finds_them(rows: ProductRows, database: RowsDatabase) -> None:
    columns = ProductColumns(database, products=3, attribute_names=rows.attribute_names)
    columns.check_field("rating")
    values = count_values(columns, "rating", rows.matching({}), 10)
    assert sum(one.products for one in values) == 2
    assert [int(rows.matching(one.where).sum()) for one in values] == [one.products for one in values]


def test_catalogue_without_the_columns_reads_as_empty(tmp_path: Path) -> None:
    write_catalogue_rows(tmp_path, toy_products())
    opened = RowsDatabase(tmp_path / CATALOGUE_ROWS_FILE)
    rows = ProductRows(opened, products=30)
    assert not opened.product_columns & {column.stored for column in PRODUCT_COLUMNS if column.is_optional}
    assert rows.product(0).rating is None and rows.product(0).extra == {}
    assert not rows.matching({"in_stock": True}).any() and not rows.matching({"rating": {"gte": 0}}).any()
    columns = ProductColumns(opened, products=30, attribute_names=rows.attribute_names)
    assert count_values(columns, "rating", rows.matching({}), 10) == ()
    opened.close()


def test_optional_columns_change_no_text_of_the_model(shop) -> None:
    assert shop.products[0].text == Product("p1", "red lamp", attributes={"color": "red"}).text


def test_digest_sees_optional_columns_and_is_the_old_one_without_them() -> None:
    plain = toy_products()
    rated = (replace(plain[0], rating=4.0), *plain[1:])
    digests = [shop_digest(products, (), {}, (), {}, None) for products in (plain, rated)]
    assert digests[0].startswith("eff73b0aeb5ca7cd") and digests[1] != digests[0]
