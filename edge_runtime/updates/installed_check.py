"""Whether the installed bundle is whole: hashed once, then known by what the file system says of its files.

HOME/checked.json    size, time of change and inode of each file when all were hashed last
"""

import contextlib
from pathlib import Path

import msgspec

from edge_runtime.contract.atomic_files import read_json, write_json_atomically
from edge_runtime.contract.bundle import Bundle, open_bundle
from edge_runtime.contract.errors import BundleError, StorageError

CHECKED_FOR_S = 7 * 86_400.0
"""A week: what rots on a disk without being written is found that soon, for one reading of the bundle."""


class _Checked(msgspec.Struct, frozen=True):
    folder: str
    checked_at_s: float
    files: dict[str, tuple[int, int, int]]


def is_known_whole(folder: Path, remembered: Path, *, now_s: float) -> bool:
    """Tell whether `verify_installed` found the bundle in `folder` whole within a week, and no file was written since.

    Args:
        folder: of the installed bundle.
        remembered: file in which `verify_installed` has left what it saw.
        now_s: seconds since 1970.
    """
    known = read_json(remembered, _Checked)
    if known is None or known.folder != folder.name or not 0 <= now_s - known.checked_at_s < CHECKED_FOR_S:
        return False
    return known.files == _seen(folder)


def verify_installed(folder: Path, remembered: Path, *, now_s: float) -> Bundle:
    """Compare every file of the bundle in `folder` with its digest (some 1.5 ms per MB), and remember that it is whole.

    A full disk only costs the next check.

    Args:
        folder: of the installed bundle.
        remembered: where to leave what was seen.
        now_s: seconds since 1970.

    Raises:
        BundleError: it is damaged; nothing is remembered any longer.
    """
    seen = _seen(folder)
    try:
        bundle = open_bundle(folder, on_device=True)
    except BundleError:
        with contextlib.suppress(OSError):
            remembered.unlink()
        raise
    with contextlib.suppress(StorageError):
        write_json_atomically(remembered, _Checked(folder.name, now_s, seen))
    return bundle


def _seen(folder: Path) -> dict[str, tuple[int, int, int]]:
    found = {}
    for path in folder.iterdir():
        status = path.lstat()
        found[path.name] = (status.st_size, status.st_mtime_ns, status.st_ino)
    return found
