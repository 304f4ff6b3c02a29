"""Whether a server can do its work: its database, its repository with the online keys, and its disk."""

import shutil
from pathlib import Path

from edge_runtime.contract.atomic_files import write_bytes_atomically
from edge_runtime.contract.errors import ConfigError, StorageError
from sync_server.devices.enrollment import Enrollment
from sync_server.repository.tuf_repository import Repository

# SQLite's log grows to some 4 MB before it is emptied, and a timestamp has 1 KB: with less than this, writes soon fail.
_LEAST_FREE_BYTES = 50_000_000
_PROBE_FILE = ".ready"


def check_ready(home: Path, enrollment: Enrollment, repository: Repository) -> int | None:
    """Return the version of the served targets; None before the first publication.

    Raises:
        StorageError: the database does not answer or its file was removed, the metadata is damaged or has no timestamp, an
            online key is lost or damaged, or the disk is full or read-only.
    """
    enrollment.check()
    targets = repository.targets()
    if targets is None and repository.has_metadata():
        raise StorageError("timestamp.json is missing; restore the server's home from a backup")
    try:
        repository.check_keys()
    except ConfigError as error:
        raise StorageError(f"the online keys cannot sign: {error}") from error
    free = shutil.disk_usage(home).free
    if free < _LEAST_FREE_BYTES:
        raise StorageError(f"{home} has {free / 1e6:.0f} MB left; make room, for example by pocketrec gc")
    write_bytes_atomically(home / _PROBE_FILE, b"")
    return targets.signed.version if targets else None
