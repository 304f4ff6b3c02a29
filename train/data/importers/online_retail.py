"""UCI Online Retail (Chen, Sain and Guo 2012, CC BY 4.0): a gift shop's invoices of one year -> a shop."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from train.data.importers.source_files import RemoteFile
from train.data.importers.spreadsheet import read_first_sheet
from train.data.table_files import TableFile, load_table, shown
from train.errors import ShopError

ARCHIVE = RemoteFile(
    name="online_retail.zip",
    url="https://archive.ics.uci.edu/static/public/352/online+retail.zip",
    sha256=None,
    max_bytes=100_000_000,
)
WORKBOOK = "Online Retail.xlsx"

_COLUMNS = ("invoiceno", "stockcode", "description", "quantity", "invoicedate", "unitprice", "customerid")
_SUFFIXES = (".parquet", ".csv", ".xlsx")
_PRODUCT_CODE = r"^\d{5}"
# A spreadsheet counts days since the end of 1899; this is 1970-01-01.
_EPOCH_DAYS = 25_569
_DAY_S = 86_400


def import_online_retail(source: Path) -> dict[str, pa.Table]:
    """Return the tables of the shop from the publisher's columns, in the file `source` or the one file in that folder.

    Kept are lines with a customer, a quantity above 0, no cancelled invoice (`C…`) and a product's code (five digits
    first; postage, fees and vouchers have none). A product is called what its code is called most often.

    Raises:
        ShopError: no file or several, a missing column, or a date that cannot be read.
    """
    lines = _load(_only_file(source))
    # Exports that passed through floats write customer 17850 as "17850.0".
    customers = pc.replace_substring_regex(lines.ids("customerid"), r"\.0$", "")
    keep = pc.and_(
        pc.and_(customers.is_valid(), pc.greater(pa.array(lines.numbers("quantity")[0]), 0.0)),
        pc.and_(
            pc.invert(pc.starts_with(pc.fill_null(lines.ids("invoiceno"), "C"), "C", ignore_case=True)),
            pc.match_substring_regex(pc.fill_null(lines.ids("stockcode"), ""), _PRODUCT_CODE),
        ),
    )
    kept = np.flatnonzero(pc.fill_null(keep, False).to_numpy(zero_copy_only=False))
    if kept.size == 0:
        raise ShopError(f"{lines.path} has no line with a customer, a product and a quantity above 0")
    rows = pa.array(kept)
    codes = lines.ids("stockcode").take(rows)
    purchases = pa.table(
        {
            "user_id": customers.take(rows),
            "product_id": codes,
            "timestamp": _timestamps_s(lines, rows),
            "basket_id": lines.ids("invoiceno").take(rows),
            "quantity": lines.numbers("quantity")[0][kept],
        }
    )
    titles = lines.texts("description").take(rows)
    prices = pa.array(lines.numbers("unitprice")[0][kept])
    return {"products": _products(codes, titles, prices), "purchases": purchases}


def _only_file(source: Path) -> Path:
    if source.is_file():
        if source.suffix.lower() not in _SUFFIXES:
            raise ShopError(f"{source}: expected a file {', '.join(_SUFFIXES)}")
        return source
    found = sorted(path for path in source.glob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise ShopError(f"{source}: expected one file {', '.join(_SUFFIXES)}, found {names}; name the file itself")
    return found[0]


def _load(path: Path) -> TableFile:
    if path.suffix.lower() != ".xlsx":
        # A much copied CSV of this data set is Latin-1.
        return load_table(path, required=_COLUMNS, other_encoding="latin-1")
    columns = {name.strip().lower(): values for name, values in read_first_sheet(path).items()}
    missing = [name for name in _COLUMNS if name not in columns]
    if missing:
        raise ShopError(f"{path}: column {missing[0]!r} is missing, found {', '.join(map(shown, columns))}")
    arrays = {name: pa.array(columns[name], pa.string()) for name in _COLUMNS}
    return TableFile(path=path, columns=arrays, rows=len(arrays["invoiceno"]))


def _products(codes: pa.Array, titles: pa.Array, prices: pa.Array) -> pa.Table:
    trimmed = pc.utf8_trim_whitespace(titles)
    names = _most_frequent(codes, trimmed, pc.greater(pc.fill_null(pc.utf8_length(trimmed), 0), 0))
    usual = _most_frequent(codes, prices, pc.greater(prices, 0.0))
    distinct = pc.unique(codes).to_pylist()
    return pa.table(
        {
            "product_id": distinct,
            "title": pa.array([names.get(code) for code in distinct], pa.string()),
            "price": pa.array([usual.get(code) for code in distinct], pa.float64()),
        }
    )


def _most_frequent(codes: pa.Array, values: pa.Array, counted: pa.Array) -> dict[str, Any]:
    """Return for each code the value that occurs with it most often; the smallest one on a tie."""
    pairs = pa.table({"code": codes, "value": values}).filter(counted)
    groups = pairs.group_by(["code", "value"]).aggregate([([], "count_all")])
    order = groups.sort_by([("code", "ascending"), ("count_all", "ascending"), ("value", "descending")])
    return dict(zip(order["code"].to_pylist(), order["value"].to_pylist(), strict=True))


def _timestamps_s(lines: TableFile, rows: pa.Array) -> pa.Array:
    column = lines.columns["invoicedate"]
    if pa.types.is_timestamp(column.type):
        return column.take(rows).cast(pa.timestamp("us"))
    encoded = lines.texts("invoicedate").take(rows).dictionary_encode()
    parsed = [_parse_date(text) for text in encoded.dictionary.to_pylist()]
    for text, seconds in zip(encoded.dictionary.to_pylist(), parsed, strict=True):
        if seconds is None:
            raise ShopError(
                f"{lines.path}, column 'InvoiceDate': expected 2010-12-01 08:26:00, 12/1/2010 8:26 or a spreadsheet's "
                f"day number, found {shown(text)}"
            )
    if encoded.indices.null_count:
        row = int(rows[encoded.indices.is_null().index(True).as_py()].as_py())
        raise lines.error(row, "InvoiceDate", "is empty; expected the date of the invoice")
    return pa.array(parsed, pa.float64()).take(encoded.indices)


def _parse_date(text: str) -> float | None:
    text = text.strip()
    for read in (datetime.fromisoformat, _us_date, _us_date_short_year):
        try:
            return read(text).replace(tzinfo=UTC).timestamp()
        except ValueError:
            continue
    try:
        return round((float(text) - _EPOCH_DAYS) * _DAY_S)
    except (ValueError, OverflowError):
        return None


def _us_date(text: str) -> datetime:
    return datetime.strptime(text, "%m/%d/%Y %H:%M").replace(tzinfo=UTC)


def _us_date_short_year(text: str) -> datetime:
    return datetime.strptime(text, "%m/%d/%y %H:%M").replace(tzinfo=UTC)
