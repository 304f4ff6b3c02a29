"""One table of a shop as text columns, from Parquet or CSV; reports problems of the file itself."""

import codecs
import csv
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from train.errors import ShopError

SUFFIXES = (".parquet", ".csv")
_SEPARATORS = (",", ";", "\t", "|")
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Of a cell in a sentence: enough to find it by, on one line of a terminal.
_MAX_SHOWN_CHARS = 60


@dataclass(frozen=True)
class TableFile:
    """A table as it was read, before any cleaning.

    Attributes:
        path: the file.
        columns: column name -> Arrow array, all of one length.
        rows: that length.
    """

    path: Path
    columns: Mapping[str, pa.Array]
    rows: int

    @property
    def name(self) -> str:
        """The file's name, as reports show it."""
        return self.path.name

    def place(self, row: int) -> str:
        """Name the data row with index `row` (counted from 0) as people count: "products.csv row 1"."""
        return f"{self.name} row {row + 1}"

    def error(self, row: int, column: str, problem: str) -> ShopError:
        """Return the error that names file, row and column, followed by `problem`."""
        return ShopError(f"{self.path} row {row + 1}, column {column!r}: {problem}")

    def cells(self, column: str) -> pa.Array:
        """Return a column as Arrow strings, or as it is where it holds lists or records; null where empty or missing."""
        values = self.columns.get(column)
        return values if values is not None and pa.types.is_nested(values.type) else self.texts(column)

    def empty(self, column: str) -> npt.NDArray[np.bool_]:
        """Return bool [rows]: where the column is empty or missing."""
        return np.asarray(self.cells(column).is_null().to_numpy(zero_copy_only=False), dtype=np.bool_)

    def texts(self, column: str) -> pa.Array:
        """Return a column as Arrow strings, null where empty or missing; a null column when the table has none such.

        Raises:
            ShopError: the column holds lists or records, or bytes that are not UTF-8.
        """
        values = self.columns.get(column)
        if values is None:
            return pa.nulls(self.rows, pa.string())
        if pa.types.is_nested(values.type):
            raise ShopError(f"{self.path}: column {column!r} holds {values.type}, expected one text or number a row")
        if pa.types.is_floating(values.type) and _all_whole(values):
            # pandas turns whole numbers into floats when one is missing: id 12 must not become "12.0".
            values = values.cast(pa.int64())
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        try:
            values = values.cast(pa.string())
            values.validate(full=True)
        except pa.ArrowInvalid as error:
            raise ShopError(
                f"{self.path}: column {column!r} is not UTF-8 text ({_one_line(error)}); write it again as UTF-8"
            ) from error
        return pc.if_else(pc.equal(values, ""), pa.scalar(None, pa.string()), values)

    def ids(self, column: str) -> pa.Array:
        """Return a column of ids as Arrow strings without control characters and without white space at the ends."""
        values = pc.replace_substring_regex(self.texts(column), r"[\x00-\x1f\x7f]+", "")
        values = pc.utf8_trim_whitespace(values)
        return pc.if_else(pc.equal(values, ""), pa.scalar(None, pa.string()), values)

    def numbers(self, column: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Return a column as float64 [rows] and a mask of the rows that hold no finite number.

        The value of a masked row is NaN; `texts` tells whether it was empty or something else.
        """
        values = self.columns.get(column)
        if values is not None and (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
            numbers = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
        else:
            numbers = _parse_numbers(self.texts(column))
        numbers = np.where(np.isfinite(numbers), numbers, np.nan)
        return numbers, np.isnan(numbers)


def shown(value: object) -> str:
    """Return `value` quoted and cut to a length that fits into a sentence."""
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN_CHARS else f"{text[:_MAX_SHOWN_CHARS]}…"


def find_table(folder: Path, name: str) -> Path | None:
    """Return the file of table `name` in `folder`, None when there is none.

    Raises:
        ShopError: there are two.
    """
    found = [folder / f"{name}{suffix}" for suffix in SUFFIXES if (folder / f"{name}{suffix}").is_file()]
    if len(found) > 1:
        raise ShopError(f"{folder} holds both {found[0].name} and {found[1].name}; keep the one that is meant")
    return found[0] if found else None


def load_table(
    path: Path, *, required: Collection[str], separator: str | None = None, other_encoding: str | None = None
) -> TableFile:
    """Read the table at `path`; column names are matched without regard to case and outer white space.

    Args:
        path: a `.parquet` or `.csv` file. CSV is UTF-8 (with or without byte order mark) or UTF-16 with one.
        required: columns that must be there.
        separator: of CSV fields; None finds it in the header: comma, semicolon, tab or vertical bar.
        other_encoding: of CSV that is not UTF-8, where the publisher's is known; None makes that an error.

    Raises:
        ShopError: the file cannot be read, is not what its name says, or lacks a column; names what to do.
    """
    try:
        table = (
            _read_parquet(path)
            if path.suffix.lower() == ".parquet"
            else _read_csv(path, decode_text(path.read_bytes(), path, other_encoding), required, separator)
        )
    except OSError as error:
        raise ShopError(f"cannot read {path}: {error.strerror or _one_line(error)}") from error
    columns: dict[str, pa.Array] = {}
    for index, raw_name in enumerate(table.column_names):
        name = _column_name(raw_name)
        if name in columns:
            raise ShopError(f"{path}: column {name!r} stands twice; rename or remove one")
        values = table.column(index)
        columns[name] = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    missing = [name for name in required if name not in columns]
    if missing:
        raise ShopError(
            f"{path}: column {missing[0]!r} is missing, found {', '.join(map(shown, columns)) or 'no columns'}; "
            f"required are {', '.join(required)}"
        )
    return TableFile(path=path, columns=columns, rows=table.num_rows)


def decode_text(data: bytes, path: Path, other_encoding: str | None = None) -> str:
    """Return the text of a CSV file: by its byte order mark, otherwise UTF-8, otherwise `other_encoding`.

    Raises:
        ShopError: it is neither; names the line.
    """
    encoding = next((encoding for mark, encoding in _BYTE_ORDER_MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if other_encoding is not None:
            return data.decode(other_encoding)
        line = data.count(b"\n", 0, error.start) + 1
        raise ShopError(
            f"{path} line {line}: not {'UTF-8' if encoding.startswith('utf-8') else encoding.upper()} text "
            f"(byte 0x{data[error.start]:02x}); save the file again as UTF-8"
        ) from error
    if encoding == "utf-8" and "\0" in text.split("\n", 1)[0]:
        raise ShopError(f"{path}: looks like UTF-16 without a byte order mark; save the file again as UTF-8")
    return text


def _column_name(raw: str) -> str:
    name = raw.strip()
    prefix, dot, rest = name.partition(".")
    return f"{prefix.lower()}{dot}{rest}" if dot else name.lower()


def _one_line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0].strip()


def _all_whole(values: pa.Array) -> bool:
    numbers = values.drop_null().to_numpy(zero_copy_only=False)
    return bool(np.isfinite(numbers).all() and (np.abs(numbers) < 2**53).all() and (numbers == np.rint(numbers)).all())


def _parse_numbers(texts: pa.Array) -> npt.NDArray[np.float64]:
    trimmed = pc.utf8_trim_whitespace(texts)
    try:
        return np.asarray(trimmed.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
    except pa.ArrowInvalid:
        return np.array([_number(text) for text in trimmed.to_pylist()], dtype=np.float64)


def _number(text: str | None) -> float:
    try:
        return float(text) if text is not None and "_" not in text else np.nan
    except ValueError:
        return np.nan


def _read_parquet(path: Path) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:
            return file.read()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ShopError(f"{path} is not a readable Parquet file ({_one_line(error)}); write it again") from error


def _read_csv(path: Path, text: str, required: Collection[str], separator: str | None) -> pa.Table:
    if not text.strip():
        raise ShopError(f"{path} is empty; expected a header with {', '.join(required)}")
    separator = separator or _separator(text, path, required)
    wrong: list[pa_csv.InvalidRow] = []

    def note_wrong_row(row: pa_csv.InvalidRow) -> str:
        wrong.append(row)
        return "skip"

    data = text.encode()
    header = _fields(text, separator)
    try:
        table = pa_csv.read_csv(
            pa.BufferReader(data),
            # One block and one thread: only so does a wrong row know its number.
            read_options=pa_csv.ReadOptions(use_threads=False, block_size=min(len(data) + 1, 2**31 - 1)),
            parse_options=pa_csv.ParseOptions(
                delimiter=separator, newlines_in_values=True, invalid_row_handler=note_wrong_row
            ),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=True, null_values=[""]
            ),
        )
    except pa.ArrowInvalid as error:
        raise ShopError(f"{path} is not a readable CSV file ({_one_line(error)})") from error
    if wrong:
        row = wrong[0]
        raise ShopError(
            f"{path} row {row.number - 1}: {row.actual_columns} fields where the header has {row.expected_columns} "
            f"({shown(row.text)}); put fields that contain {separator!r} into double quotes"
        )
    _check_quotes(table, text, path)
    return table


def _fields(text: str, separator: str) -> list[str]:
    return next(csv.reader(text.splitlines()[:1], delimiter=separator), [])


def _separator(text: str, path: Path, required: Collection[str]) -> str:
    """Choose the separator with which the header names every required column; the comma when none does."""
    fits = [
        separator
        for separator in _SEPARATORS
        if set(required) <= {_column_name(field) for field in _fields(text, separator)}
    ]
    if fits:
        return max(fits, key=lambda separator: len(_fields(text, separator)))
    split = {separator: len(_fields(text, separator)) for separator in _SEPARATORS}
    widest = max(_SEPARATORS, key=lambda separator: split[separator])
    if split[","] == 1 and split[widest] > 1:
        found = ", ".join(map(shown, _fields(text, widest)))
        raise ShopError(
            f"{path}: the header names {found}, separated by {widest!r}; required are {', '.join(required)}"
        )
    return ","


def _check_quotes(table: pa.Table, text: str, path: Path) -> None:
    """An opening quote that is never closed swallows the rest of the file: better an error than a shop cut short."""
    if table.num_rows == 0 or text.count('"') % 2 == 0:
        return
    if any("\n" in (column[-1].as_py() or "") for column in table.columns):
        raise ShopError(
            f"{path} row {table.num_rows}: a double quote is opened and never closed; close it, or double it if it is meant"
        )
