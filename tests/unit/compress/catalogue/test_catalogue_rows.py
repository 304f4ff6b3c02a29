"""The written side of the catalogue that needs no TensorFlow."""

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from compress.catalogue import rows as catalogue_rows
from compress.catalogue.rows import MAX_DESCRIPTION_CHARS, write_catalogue_rows, write_item_vectors
from compress.errors import CompressionError
from edge_runtime.contract.errors import StorageError
from edge_runtime.products.product_rows import ProductRows
from edge_runtime.products.rows_database import RowsDatabase
from tests.support.toy_shop import toy_products
from train.data.tables import Product


def rows(folder: Path, sql: str) -> list[tuple]:
    with closing(sqlite3.connect(folder / "catalogue.sqlite")) as connection:
        return connection.execute(sql).fetchall()


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    written = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        write_catalogue_rows(folder, toy_products(), popularity=np.arange(30.0))
        written.append((folder / "catalogue.sqlite").read_bytes())
    assert written[0] == written[1]


def test_file_is_whole_and_needs_no_second_file(tmp_path: Path) -> None:
    write_catalogue_rows(tmp_path, toy_products())
    assert rows(tmp_path, "PRAGMA integrity_check") == [("ok",)]
    assert rows(tmp_path, "PRAGMA journal_mode") == [("delete",)]
    assert rows(tmp_path, "PRAGMA freelist_count") == [(0,)]
    assert [path.name for path in tmp_path.iterdir()] == ["catalogue.sqlite"]


def test_shop_of_one_bare_product_works(tmp_path: Path) -> None:
    write_catalogue_rows(tmp_path, [Product("only", "lamp")])
    database = RowsDatabase(tmp_path / "catalogue.sqlite")
    made = ProductRows(database, products=1)
    assert made.product(0).title == "lamp"
    assert made.most_popular(5).rows.tolist() == [0]
    database.close()


def test_long_description_is_cut_at_a_word(tmp_path: Path) -> None:
    texts = ["word " * 200, "x" * 1_000, "short", None]
    write_catalogue_rows(tmp_path, [Product(f"p{n}", "t", description=text) for n, text in enumerate(texts)])
    cut = [text for (text,) in rows(tmp_path, "SELECT description FROM products ORDER BY row")]
    assert cut[0].endswith("word…")
    assert len(cut[0]) <= MAX_DESCRIPTION_CHARS + 1
    assert cut[1] == "x" * MAX_DESCRIPTION_CHARS + "…"
    assert cut[2:] == ["short", None]


def test_terms_are_whole_words_of_titles_without_numbers(tmp_path: Path) -> None:
    write_catalogue_rows(tmp_path, [Product("a", "Crème brûlée x2 ab 1000"), Product("b", "mug"), Product("c", "cup")])
    assert [term for (term,) in rows(tmp_path, "SELECT term FROM terms")] == ["brulee", "creme", "cup", "mug"]


def test_old_file_stays_when_the_new_one_cannot_be_made(tmp_path: Path) -> None:
    write_catalogue_rows(tmp_path, toy_products())
    before = (tmp_path / "catalogue.sqlite").read_bytes()
    with pytest.raises(CompressionError, match="product ids must be distinct"):
        write_catalogue_rows(tmp_path, [Product("a", "one"), Product("a", "two")])
    assert (tmp_path / "catalogue.sqlite").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["catalogue.sqlite"]


def test_disk_that_fills_up_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_catalogue_rows(tmp_path, toy_products())
    before = (tmp_path / "catalogue.sqlite").read_bytes()
    monkeypatch.setattr("compress.catalogue.rows._SCHEMA", f"{catalogue_rows._SCHEMA}; PRAGMA max_page_count = 30;")
    with pytest.raises(CompressionError, match="full; free some space"):
        write_catalogue_rows(tmp_path, [Product(f"p{row}", f"thing {row} " * 9) for row in range(2_000)])
    assert (tmp_path / "catalogue.sqlite").read_bytes() == before


@pytest.mark.parametrize("popularity", [np.zeros(29), np.full(30, np.nan), np.zeros((30, 1))])
def test_popularity_that_does_not_fit_is_refused(tmp_path: Path, popularity: np.ndarray) -> None:
    with pytest.raises(CompressionError, match=r"popularity must be finite numbers of shape \(30,\)"):
        write_catalogue_rows(tmp_path, toy_products(), popularity=popularity)


def test_empty_shop_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CompressionError, match="at least one product"):
        write_catalogue_rows(tmp_path, [])


def test_vectors_are_half_floats_that_can_be_mapped(tmp_path: Path) -> None:
    vectors = np.eye(3, 5, dtype=np.float32)[:, ::-1]
    write_item_vectors(tmp_path, vectors)
    mapped = np.load(tmp_path / "item_vectors.npy", mmap_mode="r")
    assert (mapped.dtype, mapped.shape, mapped.flags.c_contiguous) == (np.float16, (3, 5), True)
    np.testing.assert_array_equal(mapped, vectors)
    assert (tmp_path / "item_vectors.npy").read_bytes()[:8] == b"\x93NUMPY\x01\x00"


def test_folder_that_refuses_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("compress.catalogue.rows.tempfile.TemporaryDirectory", refuse)
    with pytest.raises(StorageError, match=r"item_vectors\.npy"):
        write_item_vectors(tmp_path, np.eye(2, dtype=np.float32))
