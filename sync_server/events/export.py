"""Events as Parquet for analysis, partitioned by day and kind.

OUT/dt=YYYY-MM-DD/kind=click/part-000000000001.parquet: the layout that Spark, DuckDB, Polars and pyarrow read as one
table with the columns `dt` and `kind`. Days are UTC.
"""

import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Engine

from edge_runtime.contract.atomic_files import disk_errors_named
from edge_runtime.contract.errors import ConfigError
from sync_server.database.tables.events import Event
from sync_server.events.json_lines import pages

_TYPES = {"float": pa.float64(), "int": pa.int64(), "str": pa.string()}
_COLUMNS = [column for column in Event.__table__.columns if column.name not in {"id", "kind"}]
SCHEMA = pa.schema([(column.name, _TYPES[column.type.python_type.__name__]) for column in _COLUMNS])


def export_parquet(engine: Engine, out: Path) -> int:
    """Write every event below the new folder `out`; return how many.

    Stopped halfway, `out` does not exist.

    Raises:
        ConfigError: `out` exists, or its parent does not.
        StorageError: the disk or the database cannot be used.
    """
    if out.exists():
        raise ConfigError(f"{out} exists; name a new folder for this export")
    if not out.parent.is_dir():
        raise ConfigError(f"cannot write {out}: {out.parent} is not a folder; make it first")
    staging = out.with_name(f".{out.name}.new")
    written = 0
    with disk_errors_named(out):
        shutil.rmtree(staging, ignore_errors=True)
        # Nobody else gets into the folder, whatever the rights of its files.
        staging.mkdir(mode=0o700)
        for number, page in enumerate(pages(engine), 1):
            for (day, kind), rows in _partitions(page).items():
                folder = staging / f"dt={day}" / f"kind={kind}"
                folder.mkdir(parents=True, exist_ok=True)
                table = pa.Table.from_pylist(rows, schema=SCHEMA)
                pq.write_table(table, folder / f"part-{number:012d}.parquet", compression="zstd")
            written += len(page)
        staging.rename(out)
    return written


def _partitions(page: Sequence[Mapping[str, object]]) -> dict[tuple[str, str], list[Mapping[str, object]]]:
    parts: dict[tuple[str, str], list[Mapping[str, object]]] = {}
    for row in page:
        parts.setdefault((_day(row["timestamp_s"]), str(row["kind"])), []).append(row)
    return parts


def _day(timestamp_s: object) -> str:
    try:
        return datetime.fromtimestamp(float(str(timestamp_s)), UTC).strftime("%Y-%m-%d")
    except (ValueError, OverflowError, OSError):
        # A device may claim any past time. Times outside the calendar go into one partition.
        return "0001-01-01"
