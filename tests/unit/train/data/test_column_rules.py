"""Rules for columns: which cells are wrong, what becomes of them, and how they are named."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from train.data.cleaning import DropLog
from train.data.column_rules import (
    ColumnRule,
    cells,
    decoded,
    list_of_texts,
    numbers,
    read_column,
    require_column,
    texts,
)
from train.data.table_files import TableFile
from train.errors import ShopError

SIZES = TableFile(path=Path("shop/sizes.csv"), columns={"size": pa.array(["1", "", "x", "-2", "3"])}, rows=5)


def test_numbers_outside_their_range_are_missing():
    np.testing.assert_array_equal(numbers(0, 2)(SIZES, "size"), [1, np.nan, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(numbers(above=1)(SIZES, "size"), [np.nan, np.nan, np.nan, np.nan, 3])


def test_wrong_cells_of_an_optional_column_are_left_out_and_counted():
    log = DropLog()
    rule = ColumnRule("a number of at least 0", numbers(0), is_refused=False)
    read_column(SIZES, "size", rule, log)
    log.raise_refused()
    (dropped,) = log.dropped()
    assert (dropped.reason, dropped.count) == ("size left out: not a number of at least 0", 2)
    assert dropped.examples == ("sizes.csv row 3 ('x')", "sizes.csv row 4 ('-2')")


def test_required_column_names_every_wrong_cell_and_the_empty_one():
    rule = ColumnRule("a number", numbers(), is_required=True)
    with pytest.raises(ShopError) as raised:
        require_column(SIZES, "size", rule)
    assert str(raised.value).split("\n  ")[1:] == [
        "shop/sizes.csv row 2, column 'size': expected a number, it is empty; correct the row or remove it",
        "shop/sizes.csv row 3, column 'size': expected a number, found 'x'; correct the row or remove it",
    ]


def test_only_the_chosen_rows_are_checked():
    log = DropLog()
    read_column(SIZES, "size", ColumnRule("a number", numbers()), log, among=np.array([True, True, False, True, True]))
    log.raise_refused()


def test_each_distinct_text_is_read_once():
    read = []
    table = TableFile(path=Path("t.csv"), columns={"a": pa.array(["x", "y", "x", None])}, rows=4)
    assert texts(lambda text: read.append(text) or text.upper())(table, "a") == ["X", "Y", "X", None]
    assert read == ["x", "y"]


def test_cells_of_a_list_column_are_read_as_lists_and_texts_of_json_too():
    table = TableFile(path=Path("t.parquet"), columns={"a": pa.array([["x"], None])}, rows=2)
    assert cells(list_of_texts)(table, "a") == [["x"], None]
    assert list_of_texts('["x", "y"]') == ["x", "y"]
    assert list_of_texts("[1]") is None
    assert decoded("no JSON") == "no JSON"
