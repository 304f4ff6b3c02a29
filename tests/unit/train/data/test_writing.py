"""Writing a shop: whole or not at all, and never over somebody's tables unasked."""

import errno

import pyarrow as pa
import pytest

from edge_runtime.contract.errors import StorageError
from tests.support.shop_tables import write_csv_shop
from train.data import writing
from train.data.reading import read_shop
from train.data.writing import write_shop
from train.errors import ShopError

PRODUCTS = pa.table({"product_id": ["a"], "title": ["lamp"]})
QUERIES = pa.table({"query": ["red lamp"]})


def test_new_folder_and_its_parents_are_made(tmp_path):
    write_shop(tmp_path / "x" / "y", {"products": PRODUCTS, "queries": QUERIES})
    assert sorted(path.name for path in (tmp_path / "x" / "y").iterdir()) == ["products.parquet", "queries.parquet"]
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["y"]


def test_empty_tables_are_not_written(tmp_path):
    write_shop(tmp_path / "s", {"products": PRODUCTS, "queries": QUERIES.slice(0, 0)})
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["products.parquet"]


def test_other_files_in_the_folder_stay(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    write_shop(tmp_path, {"products": PRODUCTS})
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_tables_of_either_format_are_protected(tmp_path):
    write_csv_shop(tmp_path)
    with pytest.raises(ShopError, match=r"already holds products\.csv"):
        write_shop(tmp_path, {"products": PRODUCTS})
    assert len(read_shop(tmp_path).products) == 3


def test_overwriting_leaves_no_table_of_the_old_shop(tmp_path):
    write_csv_shop(tmp_path, queries="query\nold\n")
    write_shop(tmp_path, {"products": PRODUCTS}, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["products.parquet"]


def test_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "s").write_text("x")
    with pytest.raises(ShopError, match="is a file; choose a folder"):
        write_shop(tmp_path / "s", {"products": PRODUCTS})


@pytest.mark.parametrize("tables", [{"queries": QUERIES}, {"products": PRODUCTS, "people": QUERIES}])
def test_tables_that_are_no_shop_are_refused(tmp_path, tables):
    with pytest.raises(ValueError, match="expected tables"):
        write_shop(tmp_path / "s", tables)


def test_full_disk_leaves_no_half_shop(tmp_path, monkeypatch):
    written = []

    def write_one(path, data):
        if written:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        path.write_bytes(data)

    monkeypatch.setattr(writing, "write_bytes_atomically", write_one)
    with pytest.raises(StorageError, match="No space left"):
        write_shop(tmp_path / "s", {"products": PRODUCTS, "queries": QUERIES})
    assert list(tmp_path.iterdir()) == []
