"""CSV and Parquet as they come from spreadsheets and databases: encodings, separators, quotes, cut files."""

import codecs

import pytest

from tests.support.shop_tables import PRODUCTS, write_csv_shop, write_parquet
from train.data.reading import read_shop
from train.data.table_files import load_table
from train.errors import ShopError

UMLAUTS = "product_id,title\np1,Tischläufer für 日本\n"


@pytest.mark.parametrize(
    "content",
    [
        UMLAUTS.encode(),
        UMLAUTS.encode("utf-8-sig"),
        UMLAUTS.encode("utf-16"),
        codecs.BOM_UTF16_LE + UMLAUTS.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + UMLAUTS.encode("utf-16-be"),
        UMLAUTS.encode("utf-32"),
        UMLAUTS.replace("\n", "\r\n").encode(),
        UMLAUTS.rstrip("\n").encode(),
        UMLAUTS.replace("product_id,title", " Product_ID , TITLE ").encode(),
    ],
    ids=["utf-8", "utf-8-bom", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "crlf", "no-last-newline", "header-case"],
)
def test_text_is_read_in_every_marked_encoding(tmp_path, content):
    product = read_shop(write_csv_shop(tmp_path, products=content)).products[0]
    assert (product.product_id, product.title) == ("p1", "Tischläufer für 日本")


def test_wrong_encoding_names_the_line(tmp_path):
    with pytest.raises(
        ShopError, match=r"products.csv line 2: not UTF-8 text \(byte 0xe4\); save the file again as UTF-8"
    ):
        read_shop(write_csv_shop(tmp_path, products="product_id,title\np1,Läufer\n".encode("latin-1")))
    with pytest.raises(ShopError, match=r"not UTF-16 text"):
        read_shop(write_csv_shop(tmp_path, products=codecs.BOM_UTF16_LE + b"a"))


def test_utf_16_without_a_mark_is_recognized(tmp_path):
    with pytest.raises(ShopError, match="looks like UTF-16 without a byte order mark"):
        read_shop(write_csv_shop(tmp_path, products=PRODUCTS.encode("utf-16-le")))


def test_known_other_encoding_is_used_only_when_it_is_not_utf_8(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes("a\nLäufer\n".encode("latin-1"))
    assert load_table(path, required=("a",), other_encoding="latin-1").texts("a").to_pylist() == ["Läufer"]
    path.write_bytes("a\nLäufer\n".encode())
    assert load_table(path, required=("a",), other_encoding="latin-1").texts("a").to_pylist() == ["Läufer"]


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_unambiguous_separator_is_accepted(tmp_path, separator):
    products = f"product_id{separator}title\np1{separator}lamp, red\n"
    assert read_shop(write_csv_shop(tmp_path, products=products)).products[0].title == "lamp, red"


def test_other_separator_without_the_needed_columns_is_named(tmp_path):
    with pytest.raises(
        ShopError, match="the header names 'id', 'name', separated by ';'; required are product_id, title"
    ):
        read_shop(write_csv_shop(tmp_path, products="id;name\np1;lamp\n"))


def test_row_with_too_many_or_too_few_fields_is_named(tmp_path):
    with pytest.raises(ShopError, match=r"products.csv row 4: 3 fields where the header has 2 \('p4,lamp, red'\); put"):
        read_shop(write_csv_shop(tmp_path, products=PRODUCTS + "p4,lamp, red\n"))
    with pytest.raises(ShopError, match=r"products.csv row 4: 1 fields"):
        read_shop(write_csv_shop(tmp_path, products=PRODUCTS + "p4\n"))


def test_quoted_fields_may_hold_separators_quotes_and_line_breaks(tmp_path):
    products = 'product_id,title\np1,"lamp, 12"" red\ntall"\np2,7" knife\n'
    shop = read_shop(write_csv_shop(tmp_path, products=products))
    assert [product.title for product in shop.products] == ['lamp, 12" red tall', '7" knife']


def test_quote_that_is_never_closed_is_named(tmp_path):
    with pytest.raises(ShopError, match=r"products.csv row 1: a double quote is opened and never closed"):
        read_shop(write_csv_shop(tmp_path, products='product_id,title\np1,"lamp\np2,sofa\np3,rug\n'))


def test_damaged_and_cut_parquet_is_named(tmp_path):
    path = write_parquet(tmp_path, "products", {"product_id": ["1"], "title": ["a"]}) / "products.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ShopError, match=r"products.parquet is not a readable Parquet file"):
        read_shop(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(ShopError, match=r"products.parquet is not a readable Parquet file"):
        read_shop(tmp_path)


def test_unreadable_file_is_named(tmp_path):
    with pytest.raises(ShopError, match=r"cannot read .*gone.csv: No such file"):
        load_table(tmp_path / "gone.csv", required=("a",))


@pytest.mark.parametrize(
    "junk", [b"\x00\x01\x02", b"%PDF-1.4\n%\xe2\xe3", b"PK\x03\x04", b",,,\n,,,\n", b'"', b"\n\n\n"]
)
def test_junk_is_an_error_of_ours(tmp_path, junk):
    with pytest.raises(ShopError):
        read_shop(write_csv_shop(tmp_path, products=junk))
