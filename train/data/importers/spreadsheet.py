"""The first sheet of an .xlsx workbook as text columns."""

import zipfile
from datetime import datetime
from pathlib import Path

import python_calamine

from train.errors import ShopError

MAX_UNPACKED_BYTES = 2_000_000_000
"""The workbook of UCI Online Retail, the one that is imported, unpacks to some 180 MB; this is ten times as much."""


def read_first_sheet(path: Path) -> dict[str, list[str | None]]:
    """Return the columns under the names of the first row: whole numbers without a fraction, dates in ISO 8601.

    Raises:
        ShopError: not a workbook, one without rows, or one that unpacks to more than `MAX_UNPACKED_BYTES`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > MAX_UNPACKED_BYTES:
            raise ShopError(f"{path} unpacks to more than {MAX_UNPACKED_BYTES} bytes; this is not the published file")
        with python_calamine.CalamineWorkbook.from_path(path) as workbook:
            rows = workbook.get_sheet_by_index(0).to_python()
    except (zipfile.BadZipFile, python_calamine.CalamineError) as error:
        raise ShopError(f"{path} is not a readable .xlsx workbook ({error}); export the sheet as CSV") from error
    if not rows:
        raise ShopError(f"{path}: the first sheet is empty; expected a row with the names of the columns")
    texts = ([_text(cell) for cell in column] for column in zip(*rows, strict=True))
    return {name: cells for name, *cells in texts if name is not None}


def _text(cell: object) -> str | None:
    if isinstance(cell, datetime):
        return cell.isoformat(sep=" ")
    # Every number of a sheet is a float: customer 17850 must not become "17850.0".
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell) or None
