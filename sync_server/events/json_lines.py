"""Events as JSON lines. A server that exports only these need not load the package for Parquet (export.py)."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
from sqlalchemy import Engine, select

from edge_runtime.contract.atomic_files import PRIVATE_MODE, disk_errors_named
from edge_runtime.contract.errors import ConfigError
from sync_server.database.engine import read_session
from sync_server.database.tables.events import Event

# Larger pages need fewer queries; a page is some tens of megabytes in memory.
_PAGE_ROWS = 50_000


def export_json_lines(engine: Engine, path: Path) -> int:
    """Write every event to `path` as JSON lines, oldest first; return how many.

    Stopped halfway, `path` holds its old content.

    Raises:
        ConfigError: the folder does not exist.
        StorageError: the disk or the database cannot be used.
    """
    if not path.parent.is_dir():
        raise ConfigError(f"cannot write {path}: {path.parent} is not a folder; make it first")
    temporary = path.with_name(f".{path.name}.new")
    written = 0
    with disk_errors_named(path):
        temporary.unlink(missing_ok=True)
        temporary.touch(mode=PRIVATE_MODE)
    with disk_errors_named(path), temporary.open("wb") as file:
        for page in pages(engine):
            for row in page:
                # Empty fields are left out, as the device left them out.
                event = {name: value for name, value in row.items() if name != "id" and value is not None}
                file.write(msgspec.json.encode(event) + b"\n")
            written += len(page)
    with disk_errors_named(path):
        temporary.replace(path)
    return written


def pages(engine: Engine) -> Iterator[Sequence[Mapping[str, object]]]:
    """Yield all events as rows of their table, oldest first, in pages."""
    last = 0
    while True:
        with read_session(engine) as session:
            query = select(Event.__table__).where(Event.id > last).order_by(Event.id).limit(_PAGE_ROWS)
            page = [dict(row) for row in session.execute(query).mappings()]
        if not page:
            return
        last = int(page[-1]["id"])
        yield page
