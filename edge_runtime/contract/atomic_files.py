"""Writing files so that a kill or a full disk leaves either the old content or the new, never a mixture."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from edge_runtime.contract.errors import StorageError

T = TypeVar("T")
TEMPORARY_PREFIX = ".tmp-"
"""How the name of a file begins that is not complete yet."""

PUBLIC_MODE, PRIVATE_MODE = 0o644, 0o600
"""Rights of files that anybody on the machine may read, like bundles, and of those about a person."""

_DISK_ERRORS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EFBIG,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EISDIR,
}


@contextlib.contextmanager
def disk_errors_named(path: Path) -> Iterator[None]:
    """Turn the operating system's "no space", "read-only" and "no permission" into a StorageError that names `path`.

    Raises:
        StorageError: in place of such an OSError; every other exception passes unchanged.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        reason = os.strerror(error.errno)
        raise StorageError(
            f"cannot write {path}: {reason}. What was there before is unchanged; free some space or fix the rights, then try again."
        ) from error


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes_atomically(path: Path, data: bytes, *, mode: int = PUBLIC_MODE) -> None:
    """Write `data` to `path`: temporary file in the same folder, fsync, rename.

    Stopped halfway, `path` holds its old content, and a `.tmp-*` file may lie beside it.

    Raises:
        StorageError: the disk is full, read-only or not permitted.
    """
    with disk_errors_named(path):
        descriptor, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(mode)
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(path.parent)


def read_json(path: Path, content: type[T]) -> T | None:
    """Return the JSON of a file as a `content`; None when it is missing, cannot be read or is malformed."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=content)
    except (OSError, msgspec.MsgspecError):
        return None


def write_json_atomically(path: Path, content: object) -> None:
    """Write `content` as JSON, as `write_bytes_atomically` does.

    Raises:
        StorageError: the disk is full, read-only or not permitted.
    """
    write_bytes_atomically(path, msgspec.json.encode(content))
