"""Writes a shop's tables, for importers and the sample shop; `read_shop` reads them."""

import io
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from edge_runtime.contract.atomic_files import disk_errors_named, sync_folder, write_bytes_atomically
from train.data.reading import TABLES
from train.data.table_files import SUFFIXES
from train.errors import ShopError


def write_shop(folder: Path, tables: Mapping[str, pa.Table], *, overwrite: bool = False) -> None:
    """Write `tables` (name -> Arrow table) as Parquet files into `folder`, which is made if it is not there.

    A new folder appears whole or not at all. With `overwrite` each file is replaced in one step; stopped halfway, some
    tables are the new ones and some the old ones, each of them whole.

    Args:
        folder: new, empty, or holding other files than tables; with `overwrite` it may hold tables.
        tables: "products" and any of "judgements", "purchases", "queries", "synonyms"; empty ones are not written.
        overwrite: replace the tables that are there, and remove those that the new shop does not have.

    Raises:
        ShopError: the folder already holds tables, or a file stands in its place.
        StorageError: the disk is full, read-only or not permitted.
    """
    folder = Path(folder)
    unknown = sorted(set(tables) - set(TABLES))
    if unknown or "products" not in tables:
        raise ValueError(f"expected tables {', '.join(TABLES)} with products among them, got {', '.join(tables)}")
    check_target(folder, overwrite=overwrite)
    old = table_files(folder)
    contents = {f"{name}.parquet": _parquet(table) for name, table in tables.items() if table.num_rows}
    if folder.exists() and any(folder.iterdir()):
        for name, content in contents.items():
            write_bytes_atomically(folder / name, content)
        for path in old:
            if path.name not in contents:
                path.unlink()
    else:
        _write_new_folder(folder, contents)


def check_target(folder: Path, *, overwrite: bool) -> None:
    """See that a shop may be written into `folder`, before anything costly is done for it.

    Raises:
        ShopError: the folder holds tables that may not be overwritten, or a file stands in its place.
    """
    if folder.exists() and not folder.is_dir():
        raise ShopError(f"{folder} is a file; choose a folder for the shop")
    old = table_files(folder)
    if old and not overwrite:
        raise ShopError(f"{folder} already holds {old[0].name}; choose another folder, or allow it with --overwrite")


def table_files(folder: Path) -> list[Path]:
    """Return the files in `folder` that `read_shop` would take for tables."""
    candidates = [folder / f"{table}{suffix}" for table in TABLES for suffix in SUFFIXES]
    return [path for path in candidates if path.exists()]


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _write_new_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    with disk_errors_named(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".tmp-", dir=folder.parent, ignore_cleanup_errors=True) as name:
            staged = Path(name) / "shop"
            staged.mkdir()
            for file_name, content in contents.items():
                write_bytes_atomically(staged / file_name, content)
            staged.replace(folder)
        sync_folder(folder.parent)
