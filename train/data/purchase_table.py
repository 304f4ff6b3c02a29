"""Table `purchases`: lines -> each user's baskets; with arrays, since a shop has many more lines than products."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from edge_runtime.contract.types import Int64
from train.data.cleaning import MAX_EXAMPLES, DropLog
from train.data.column_rules import ColumnRule, numbers, read_column
from train.data.table_files import TableFile, load_table, shown
from train.data.tables import Basket

_REQUIRED = ("user_id", "product_id", "timestamp")
_MILLISECONDS_ABOVE = 1e11
"""Epoch seconds beyond this would be the year 5138: such numbers are milliseconds."""

Bool = npt.NDArray[np.bool_]


def read_purchases(path: Path, product_ids: pa.Array, log: DropLog) -> dict[str, tuple[Basket, ...]]:
    """Read the purchases in the file at `path` and gather them into baskets, oldest first.

    A basket is what one user bought under one `basket_id`, or, where that is empty, at one timestamp.

    Args:
        path: the file.
        product_ids: Arrow strings [products]; a basket's rows are indices into them.
        log: gets what was left out or refused: a timestamp or quantity that cannot be read.

    Raises:
        ShopError: the file cannot be read or lacks a column.
    """
    table = load_table(path, required=_REQUIRED)
    if table.rows == 0:
        return {}
    users = table.ids("user_id")
    ids = table.ids("product_id")
    rows = pc.index_in(ids, value_set=product_ids, skip_nulls=True)
    keep = _kept(table, np.ones(table.rows, dtype=np.bool_), ~_nulls(users), "no user", None, log)
    # A cancelled order may name no known product and no time: it is judged by its quantity first.
    quantities = np.nan_to_num(read_column(table, "quantity", _QUANTITY, log), nan=1.0)
    keep = _kept(table, keep, quantities > 0, "cancelled or returned (quantity not above 0)", None, log)
    keep = _kept(table, keep, ~_nulls(rows), "unknown product", ids, log)
    times = read_column(table, "timestamp", _TIMESTAMP, log, among=keep)
    if not keep.any():
        return {}
    chosen = np.flatnonzero(keep)
    user_codes, user_names = _codes(users.take(pa.array(chosen)))
    basket_codes = _basket_codes(table, chosen, times)
    row_codes = rows.take(pa.array(chosen)).to_numpy(zero_copy_only=False).astype(np.int32)
    return _gather(user_codes, user_names, basket_codes, row_codes, times[chosen])


def _kept(table: TableFile, keep: Bool, good: Bool, reason: str, values: pa.Array | None, log: DropLog) -> Bool:
    """Return `keep & good`, and note the rows that this leaves out."""
    bad = np.flatnonzero(keep & ~good)
    examples = [
        table.place(row) if values is None else f"{table.place(row)} ({shown(values[row].as_py())})"
        for row in bad[:MAX_EXAMPLES].tolist()
    ]
    log.note(table.name, f"left out: {reason}", *examples, count=int(bad.size))
    return keep & good


def _nulls(values: pa.Array) -> Bool:
    return np.asarray(values.is_null().to_numpy(zero_copy_only=False), dtype=np.bool_)


def _timestamps_s(table: TableFile, name: str) -> npt.NDArray[np.float64]:
    """Return float64 [rows], seconds since 1970 in UTC, NaN where a cell holds no time."""
    column = table.columns[name]
    if pa.types.is_temporal(column.type) and not pa.types.is_time(column.type):
        microseconds = column.cast(pa.timestamp("us")).cast(pa.int64()).to_numpy(zero_copy_only=False)
        seconds = np.where(_nulls(column), np.nan, microseconds.astype(np.float64) / 1e6)
    elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        seconds, _ = table.numbers(name)
    else:
        encoded = table.texts(name).dictionary_encode()
        parsed = np.array([*map(_parse_time, encoded.dictionary.to_pylist()), np.nan])
        seconds = parsed[pc.fill_null(encoded.indices, len(parsed) - 1).to_numpy(zero_copy_only=False)]
    return np.where(np.abs(seconds) > _MILLISECONDS_ABOVE, seconds / 1000.0, seconds)


def _parse_time(text: str) -> float:
    text = text.strip()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return _seconds(text)
    # An eight-digit number is a date to `fromisoformat`; epoch seconds have nine digits since 1973.
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        return np.nan
    return seconds if np.isfinite(seconds) else np.nan


_QUANTITY = ColumnRule("a number", numbers())
_TIMESTAMP = ColumnRule("a date like 2026-03-01T09:30:00 or seconds since 1970", _timestamps_s, is_required=True)


def _codes(values: pa.Array) -> tuple[Int64, list[str]]:
    encoded = values.dictionary_encode()
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), encoded.dictionary.to_pylist()


def _basket_codes(table: TableFile, chosen: Int64, times: npt.NDArray[np.float64]) -> Int64:
    """Return int64 [chosen]: equal numbers where the basket id, or else the timestamp, is equal."""
    _, by_time = np.unique(times[chosen], return_inverse=True)
    baskets = table.ids("basket_id").take(pa.array(chosen)).dictionary_encode()
    codes = pc.fill_null(baskets.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return np.where(codes >= 0, codes, by_time + len(baskets.dictionary))


def _gather(
    users: Int64,
    names: list[str],
    baskets: Int64,
    rows: npt.NDArray[np.int32],
    times: npt.NDArray[np.float64],
) -> dict[str, tuple[Basket, ...]]:
    """Group lines (all arrays [lines], in the order of the table) by user and basket."""
    keys = users * (int(baskets.max()) + 1) + baskets
    pairs = np.stack([keys, rows.astype(np.int64)])
    # Of a product bought twice in one basket the first line stays.
    order = np.lexsort((np.arange(len(keys)), pairs[1], pairs[0]))
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = (np.diff(pairs[:, order], axis=1) != 0).any(axis=0)
    distinct = np.sort(order[first])
    by_basket = distinct[np.argsort(keys[distinct], kind="stable")]
    starts = np.flatnonzero(np.diff(keys[by_basket], prepend=-1))
    basket_times = np.minimum.reduceat(times[by_basket], starts)
    basket_users = users[by_basket[starts]]
    basket_rows = np.split(rows[by_basket], starts[1:])
    gathered: dict[str, list[Basket]] = {name: [] for name in names}
    for index in np.lexsort((by_basket[starts], basket_times)).tolist():
        basket = Basket(timestamp_s=float(basket_times[index]), rows=basket_rows[index])
        gathered[names[basket_users[index]]].append(basket)
    return {name: tuple(their) for name, their in gathered.items()}
