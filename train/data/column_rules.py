"""Rules for the columns of a shop's tables: what a cell must hold, and what happens to one that holds something else."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from train.data.cleaning import MAX_EXAMPLES, DropLog
from train.data.table_files import TableFile, shown

Values = npt.NDArray[np.float64] | Sequence[Any]
"""One value for each row: float64 with NaN, or anything with None, where a cell is empty or not as expected."""


@dataclass(frozen=True)
class ColumnRule:
    """What the cells of a column must hold.

    Attributes:
        expected: what that is, in words that follow "expected" or "not".
        read: the table and the column's name -> its values.
        is_required: an empty cell is wrong as well.
        is_refused: a wrong cell makes the shop unusable; otherwise the cell is left out and counted.
    """

    expected: str
    read: Callable[[TableFile, str], Values]
    is_required: bool = False
    is_refused: bool = True


def read_column(
    table: TableFile, column: str, rule: ColumnRule, log: DropLog, *, among: npt.NDArray[np.bool_] | None = None
) -> Any:
    """Return the values of `column`, and tell `log` of every cell that is not as `rule` expects.

    Args:
        table: where the column is, or is missing; then every cell is empty.
        column: its name.
        rule: what the cells must hold.
        log: gets what was refused or left out.
        among: bool [rows], the rows that are checked; None checks all.
    """
    values = rule.read(table, column)
    wrong = np.isnan(values) if isinstance(values, np.ndarray) else np.array([one is None for one in values], np.bool_)
    if among is not None:
        wrong &= among
    if not rule.is_required and wrong.any():
        wrong &= ~table.empty(column)
    rows = np.flatnonzero(wrong).tolist()
    if not rows:
        return values
    found = table.cells(column)
    if rule.is_refused:
        for row in rows:
            cell = found[row].as_py()
            what = "it is empty" if cell is None else f"found {shown(cell)}"
            refuse(table, row, column, f"expected {rule.expected}, {what}; correct the row or remove it", log)
    else:
        examples = [f"{table.place(row)} ({shown(found[row].as_py())})" for row in rows[:MAX_EXAMPLES]]
        log.note(table.name, f"{column} left out: not {rule.expected}", *examples, count=len(rows))
    return values


def require_column(table: TableFile, column: str, rule: ColumnRule) -> Any:
    """Return the values of `column`, none of which is wrong.

    Raises:
        ShopError: names every cell that is not as `rule` expects.
    """
    log = DropLog()
    values = read_column(table, column, rule, log)
    log.raise_refused()
    return values


def refuse(table: TableFile, row: int, column: str, problem: str, log: DropLog) -> None:
    """Tell `log` that a cell makes the shop unusable."""
    log.refuse(f"{table.path}, column {column!r}", str(table.error(row, column, problem)))


def numbers(
    low: float = -np.inf, high: float = np.inf, *, above: float = -np.inf
) -> Callable[[TableFile, str], Values]:
    """Return a reader of numbers from `low` to `high` that are above `above`."""

    def read(table: TableFile, column: str) -> Values:
        found, _ = table.numbers(column)
        return np.where((found >= low) & (found <= high) & (found > above), found, np.nan)

    return read


def texts(read_text: Callable[[str], object | None]) -> Callable[[TableFile, str], Values]:
    """Return a reader that gives each distinct text of a column to `read_text`, which returns None for a wrong one."""

    def read(table: TableFile, column: str) -> Values:
        encoded = table.texts(column).dictionary_encode()
        found = [read_text(text) for text in encoded.dictionary.to_pylist()]
        return [None if code is None else found[code] for code in encoded.indices.to_pylist()]

    return read


def cells(read_cell: Callable[[Any], object | None]) -> Callable[[TableFile, str], Values]:
    """Return a reader that gives each cell, a text or what a nested column holds, to `read_cell`."""

    def read(table: TableFile, column: str) -> Values:
        return [None if cell is None else read_cell(cell) for cell in table.cells(column).to_pylist()]

    return read


def decoded(cell: object) -> object:
    """Return what a text of JSON says; another text, and what is no text, as it is."""
    if not isinstance(cell, str):
        return cell
    try:
        return msgspec.json.decode(cell)
    except (msgspec.MsgspecError, RecursionError):
        return cell


def list_of_texts(cell: object) -> list[str] | None:
    """Return the list of texts that a cell is, or says in JSON; None when it is something else."""
    found = decoded(cell)
    return found if isinstance(found, list) and all(isinstance(text, str) for text in found) else None
