"""Counts the processes that died while they opened a bundle, so that such a bundle is replaced by the one before.

    HOME/starts/<bundle>-<token>    an empty file: a process is opening or proving this bundle, or died while it did

The process holds a lock on its file and removes it when the opening has ended, well or with an error. A file that nobody
locks was left by a process that died meanwhile. How a process ends at any other time says nothing about the bundle:
systems end apps as they like.
"""

import contextlib
import fcntl
import logging
import os
import secrets
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

_LOG = logging.getLogger(__name__)
MAX_CRASHES = 3
"""After so many processes that died while they opened it, with no good opening between, a bundle is given up."""
_NAME_CHARS = 24  # of the bundle id, as in the names of the slots


class CrashGuard:
    """The openings of one device, in `folder`; for any number of processes at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextlib.contextmanager
    def opening(self, bundle_id: str) -> Iterator[None]:
        """Mark that this process opens or proves a bundle; the mark is left behind only when the process dies inside.

        Where no file can be written, the bundle is opened without a mark.
        """
        # A bundle that is given up already needs no further marks: they would grow without end.
        marked = None if self.crashed(bundle_id) else self._mark(bundle_id)
        try:
            yield
        finally:
            if marked is not None:
                path, file = marked
                # Removed while it is locked: unlocked, it would count as left behind.
                _remove(path)
                file.close()

    def _mark(self, bundle_id: str) -> tuple[Path, BinaryIO] | None:
        path = self._folder / f"{bundle_id[:_NAME_CHARS]}-{secrets.token_hex(8)}"
        unlocked = path.with_name(f".{path.name}")
        try:
            self._folder.mkdir(exist_ok=True)
            with contextlib.ExitStack() as undo:
                file = undo.enter_context(unlocked.open("wb"))
                undo.callback(_remove, unlocked)
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Only now under the name that is counted. It is not flushed to the disk: a loss of power is no crash.
                unlocked.rename(path)
                undo.pop_all()
        except OSError as error:
            _LOG.warning("the bundle is opened without its crash guard: cannot write %s (%s)", path, error.strerror)
            return None
        return path, file

    def crashed(self, bundle_id: str) -> bool:
        """Tell whether `MAX_CRASHES` processes died while they opened the bundle, with no good opening since."""
        return sum(map(_is_left_behind, self._marks(bundle_id))) >= MAX_CRASHES

    def clear(self, bundle_id: str) -> None:
        """Begin the count of a bundle anew."""
        for mark in self._marks(bundle_id):
            if _is_left_behind(mark):
                _remove(mark)

    def keep_only(self, bundle_ids: Collection[str]) -> None:
        """Remove what was counted for other bundles."""
        kept = {bundle_id[:_NAME_CHARS] for bundle_id in bundle_ids}
        for mark in list(self._folder.glob("*")):
            if mark.name[:_NAME_CHARS] not in kept and _is_left_behind(mark):
                _remove(mark)

    def _marks(self, bundle_id: str) -> list[Path]:
        return list(self._folder.glob(f"{bundle_id[:_NAME_CHARS]}-*"))


def _is_left_behind(mark: Path) -> bool:
    try:
        with mark.open("rb") as file:
            # Shared, so that two processes that look at once do not take each other for the owner.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return os.fstat(file.fileno()).st_nlink > 0
    except OSError:  # its process lives, or has removed it
        return False


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
