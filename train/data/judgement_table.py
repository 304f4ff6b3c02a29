"""Tables `judgements`, `queries` and `synonyms`: graded products, unlabelled queries, synonyms."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from train.data.cleaning import DropLog, clean_short
from train.data.table_files import TableFile, load_table, shown
from train.data.tables import Judgement
from train.errors import ShopError

MAX_GRADE = 3

_JUDGED = ("query", "product_id")


def read_judgements(path: Path, product_ids: pa.Array, log: DropLog) -> tuple[Judgement, ...]:
    """Read and clean the judgements in the file at `path`.

    A (query, product) pair that stands there several times comes out once, with the weighted mean of its gains and the
    largest of its weights.

    Args:
        path: the file.
        product_ids: Arrow strings [products]; a judgement's row is an index into them.
        log: gets what was left out.

    Raises:
        ShopError: no grade, one outside its range, or a weight that is not positive.
    """
    table = load_table(path, required=_JUDGED)
    gains = _gains(table).tolist()
    weights = table.numbers_or_one("weight", above=0.0, expected="a number above 0").tolist()
    ids = table.ids("product_id")
    rows = pc.index_in(ids, value_set=product_ids, skip_nulls=True).to_pylist()
    merged: dict[tuple[str, int], list[int]] = {}
    for index, (query, row) in enumerate(zip(_cleaned(table, "query"), rows, strict=True)):
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
    for index, query in enumerate(_cleaned(table, "query")):
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
        ShopError: the file cannot be read, lacks a column, or holds a list that is no list of texts.
    """
    table = load_table(path, required=("term", "alternatives"))
    joined: dict[str, dict[str, None]] = {}
    for index, (term, alternatives) in enumerate(zip(_cleaned(table, "term"), synonym_lists(table), strict=True)):
        if term is None or not alternatives:
            log.note(table.name, "left out: no term or no alternatives", table.place(index))
        else:
            joined.setdefault(term, {}).update(dict.fromkeys(text for text in alternatives if text != term))
    return {term: tuple(alternatives) for term, alternatives in joined.items() if alternatives}


def synonym_lists(table: TableFile) -> list[list[str]]:
    """Return column `alternatives` of a table of synonyms, row by row, as `read_synonyms` understands it.

    Raises:
        ShopError: a list is no list of texts.
    """
    column = table.columns["alternatives"]
    listed = column.to_pylist() if pa.types.is_nested(column.type) else table.texts("alternatives").to_pylist()
    return [_alternatives(table, index, value) for index, value in enumerate(listed)]


def _alternatives(table: TableFile, row: int, value: object) -> list[str]:
    if isinstance(value, str):
        if value.lstrip().startswith("["):
            value = table.json(row, "alternatives", value, expected='a list like ["couch", "settee"]')
        else:
            value = value.split("|" if "|" in value else ",")
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise table.error(row, "alternatives", f"expected a list of texts, found {shown(value)}")
    return [text for text in map(clean_short, value) if text is not None]


def _cleaned(table: TableFile, column: str) -> list[str | None]:
    # Judged queries repeat some forty times: each distinct text is cleaned once.
    encoded = table.texts(column).dictionary_encode()
    cleaned = [clean_short(text) for text in encoded.dictionary.to_pylist()]
    return [None if code is None else cleaned[code] for code in encoded.indices.to_pylist()]


def _gains(table: TableFile) -> npt.NDArray[np.float64]:
    """Return float64 [rows] in 0 … 1 from column `gain`, or from `grade` as (2^grade - 1) / 7.

    A column `grade` with fractions and nothing above 1 holds gains: no scale of grades looks like that.
    """
    named = [column for column in ("grade", "gain") if column in table.columns]
    if len(named) != 1:
        found = "both" if named else f"found {', '.join(map(shown, table.columns))}"
        raise ShopError(f"{table.path}: expected one column 'grade' (0 to {MAX_GRADE}) or 'gain' (0 to 1), {found}")
    column = named[0]
    numbers, missing = table.numbers(column)
    is_gain = column == "gain" or (
        bool((numbers[~missing] != np.rint(numbers[~missing])).any()) and bool((numbers[~missing] <= 1).all())
    )
    highest = 1 if is_gain else MAX_GRADE
    wrong = np.flatnonzero(missing | (numbers < 0) | (numbers > highest))
    if wrong.size:
        row = int(wrong[0])
        found = table.texts(column)[row].as_py()
        raise table.error(
            row,
            column,
            f"expected a number from 0 to {highest}, {'it is empty' if found is None else f'found {shown(found)}'}; "
            "correct the row or remove it",
        )
    return numbers if is_gain else (np.exp2(numbers) - 1.0) / (2.0**MAX_GRADE - 1.0)
