"""Tables `judgements`, `queries` and `synonyms`: graded products, unlabelled queries, synonyms."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from train.data.cleaning import DropLog, clean_short
from train.data.column_rules import ColumnRule, cells, list_of_texts, numbers, read_column, texts
from train.data.table_files import TableFile, load_table, shown
from train.data.tables import Judgement
from train.errors import ShopError

MAX_GRADE = 3
"""Grades are 0 (wrong), 1, 2 and 3 (perfect), the four steps of ESCI's labels."""

_JUDGED = ("query", "product_id")
_GRADE = ColumnRule(f"a number from 0 to {MAX_GRADE}", numbers(0, MAX_GRADE), is_required=True)
_GAIN = ColumnRule("a number from 0 to 1", numbers(0, 1), is_required=True)
_WEIGHT = ColumnRule("a number above 0", numbers(above=0))
_QUERY = texts(clean_short)


def read_judgements(path: Path, product_ids: pa.Array, log: DropLog) -> tuple[Judgement, ...]:
    """Read and clean the judgements in the file at `path`.

    A (query, product) pair that stands there several times comes out once, with the weighted mean of its gains and the
    largest of its weights.

    Args:
        path: the file.
        product_ids: Arrow strings [products]; a judgement's row is an index into them.
        log: gets what was left out or refused.

    Raises:
        ShopError: the file cannot be read, or not one column holds the grades. Grades and weights that are no numbers,
            or outside their range, are refused in `log`.
    """
    table = load_table(path, required=_JUDGED)
    gains = _gains(table, log).tolist()
    weights = np.nan_to_num(read_column(table, "weight", _WEIGHT, log), nan=1.0).tolist()
    ids = table.ids("product_id")
    rows = pc.index_in(ids, value_set=product_ids, skip_nulls=True).to_pylist()
    merged: dict[tuple[str, int], list[int]] = {}
    for index, (query, row) in enumerate(zip(_QUERY(table, "query"), rows, strict=True)):
        if query is None:
            log.note(table.name, "left out: no query", table.place(index))
        elif row is None:
            log.note(table.name, "left out: unknown product", f"{table.place(index)} ({shown(ids[index].as_py())})")
        else:
            merged.setdefault((query, row), []).append(index)
    judgements = []
    for (query, row), indices in merged.items():
        gain, weight = gains[indices[0]], weights[indices[0]]
        if len(indices) > 1:
            same = len({gains[index] for index in indices}) == 1
            reason = "judged twice alike: counted once" if same else "judged twice differently: mean taken"
            log.note(table.name, reason, table.place(indices[1]), count=len(indices) - 1)
            weight = max(weights[index] for index in indices)
            if not same:
                gain = float(np.average([gains[i] for i in indices], weights=[weights[i] for i in indices]))
        judgements.append(Judgement(query=query, row=row, gain=gain, weight=weight))
    return tuple(judgements)


def read_queries(path: Path, log: DropLog) -> tuple[str, ...]:
    """Read the unlabelled queries in the file at `path`: cleaned, distinct, in the order of the table.

    Raises:
        ShopError: the file cannot be read or has no column `query`.
    """
    table = load_table(path, required=("query",))
    distinct: dict[str, None] = {}
    for index, query in enumerate(_QUERY(table, "query")):
        if query is None:
            log.note(table.name, "left out: no query", table.place(index))
        elif query in distinct:
            log.note(table.name, "left out: repeated query", table.place(index))
        else:
            distinct[query] = None
    return tuple(distinct)


def read_synonyms(path: Path, log: DropLog) -> dict[str, tuple[str, ...]]:
    """Read the synonyms in the file at `path`: term -> alternatives; several rows of one term are joined.

    `alternatives` is a list column, a JSON list, or text with `|` or, where there is none, commas between.

    Raises:
        ShopError: the file cannot be read or lacks a column. A cell that is no list of texts is refused in `log`.
    """
    table = load_table(path, required=("term", "alternatives"))
    joined: dict[str, dict[str, None]] = {}
    listed = read_column(table, "alternatives", ALTERNATIVES, log)
    for index, (term, alternatives) in enumerate(zip(_QUERY(table, "term"), listed, strict=True)):
        if term is None or not alternatives:
            log.note(table.name, "left out: no term or no alternatives", table.place(index))
        else:
            joined.setdefault(term, {}).update(dict.fromkeys(text for text in alternatives if text != term))
    return {term: tuple(alternatives) for term, alternatives in joined.items() if alternatives}


def _alternatives(cell: object) -> list[str] | None:
    if isinstance(cell, str) and not cell.lstrip().startswith("["):
        cell = cell.split("|" if "|" in cell else ",")
    listed = list_of_texts(cell)
    return None if listed is None else [text for text in map(clean_short, listed) if text is not None]


ALTERNATIVES = ColumnRule('a list of texts like ["couch", "settee"]', cells(_alternatives))
"""Column `alternatives` of a table of synonyms."""


def _gains(table: TableFile, log: DropLog) -> npt.NDArray[np.float64]:
    """Return float64 [rows] in 0 … 1 from column `gain`, or from `grade` as (2^grade - 1) / 7.

    A column `grade` with fractions and nothing above 1 holds gains: no scale of grades looks like that.
    """
    named = [column for column in ("grade", "gain") if column in table.columns]
    if len(named) != 1:
        found = "both" if named else f"found {', '.join(map(shown, table.columns))}"
        raise ShopError(f"{table.path}: expected one column 'grade' (0 to {MAX_GRADE}) or 'gain' (0 to 1), {found}")
    found_numbers, missing = table.numbers(named[0])
    given = found_numbers[~missing]
    if named[0] == "gain" or (bool((given != np.rint(given)).any()) and bool((given <= 1).all())):
        return np.asarray(read_column(table, named[0], _GAIN, log))
    return np.asarray((np.exp2(read_column(table, "grade", _GRADE, log)) - 1.0) / (2.0**MAX_GRADE - 1.0))
