"""The first sheet of an .xlsx workbook as text columns: all that is needed to read a published data set."""

import re
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from train.data.importers.source_files import require_member
from train.errors import ShopError

MAX_SHEET_BYTES = 2_000_000_000

_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_COLUMN = re.compile(r"[A-Z]+")


def read_first_sheet(path: Path) -> dict[str, list[str | None]]:
    """Return the columns under the names of the first row; numbers (and so dates) as the file writes them.

    Raises:
        ShopError: not a workbook, or one without rows.
    """
    try:
        with zipfile.ZipFile(path) as workbook:
            require_member(workbook, path, "xl/worksheets/sheet1.xml", max_bytes=MAX_SHEET_BYTES)
            shared = _shared_texts(workbook)
            with workbook.open("xl/worksheets/sheet1.xml") as sheet:
                return _columns(sheet, shared, path)
    except (zipfile.BadZipFile, ElementTree.ParseError, ValueError, IndexError) as error:
        raise ShopError(f"{path} is not a readable .xlsx workbook ({error}); export the sheet as CSV") from error


def _columns(sheet: IO[bytes], shared: list[str], path: Path) -> dict[str, list[str | None]]:
    rows = _rows(sheet, shared)
    header = next(rows, {})
    if not header:
        raise ShopError(f"{path}: the first sheet is empty; expected a row with the names of the columns")
    columns: dict[str, list[str | None]] = {name: [] for name in header.values()}
    for row in rows:
        for letters, name in header.items():
            columns[name].append(row.get(letters))
    return columns


def _rows(sheet: IO[bytes], shared: list[str]) -> Iterator[dict[str, str]]:
    for _, element in ElementTree.iterparse(sheet):  # noqa: S314 (expat bounds entity expansion since 2.4.1)
        if element.tag == f"{_MAIN}row":
            cells = [(_letters(cell.get("r", "")), _text(cell, shared)) for cell in element]
            yield {letters: text for letters, text in cells if text is not None}
            element.clear()


def _letters(reference: str) -> str:
    match = _COLUMN.match(reference)
    return match.group() if match else ""


def _text(cell: ElementTree.Element, shared: list[str]) -> str | None:
    if cell.get("t") == "inlineStr":
        return "".join(part.text or "" for part in cell.iter(f"{_MAIN}t"))
    value = cell.find(f"{_MAIN}v")
    if value is None or value.text is None:
        return None
    return shared[int(value.text)] if cell.get("t") == "s" else value.text


def _shared_texts(workbook: zipfile.ZipFile) -> list[str]:
    texts: list[str] = []
    if "xl/sharedStrings.xml" in workbook.namelist():
        with workbook.open("xl/sharedStrings.xml") as file:
            for _, element in ElementTree.iterparse(file):  # noqa: S314 (as above)
                if element.tag == f"{_MAIN}si":
                    texts.append("".join(part.text or "" for part in element.iter(f"{_MAIN}t")))
                    element.clear()
    return texts
