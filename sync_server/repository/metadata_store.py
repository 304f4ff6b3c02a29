"""The signed metadata on the server's disk, and the newest root."""

import contextlib
import fcntl
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from edge_runtime.contract.atomic_files import disk_errors_named, write_bytes_atomically
from edge_runtime.contract.errors import StorageError
from sync_server.repository.keys import check_successor, decode_root

Signed = TypeVar("Signed", Snapshot, Targets, Timestamp)

_NAME = re.compile(r"timestamp\.json|[1-9][0-9]{0,8}\.(?:root|snapshot|targets|channel-[a-z0-9][a-z0-9-]{0,39})\.json")


@contextlib.contextmanager
def publication_lock(repository: Path) -> Iterator[None]:
    """Wait until no process publishes or renews in the folder `repository`, and keep others waiting until the block ends.

    Raises:
        StorageError: the disk is full, read-only or not permitted.
    """
    # Workers are processes, so only a lock of the operating system stops two of them from signing the same version.
    path = repository / "lock"
    with disk_errors_named(path):
        file = path.open("wb")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class MetadataFiles:
    """A folder of metadata files.

    Args:
        folder: made when missing.
        root: the first trusted root; newer roots in the folder are followed from there.

    Raises:
        StorageError: the disk is full, read-only or not permitted.
    """

    def __init__(self, folder: Path, root: Metadata[Root]) -> None:
        self._folder = folder
        self._root = root
        with disk_errors_named(folder):
            folder.mkdir(parents=True, exist_ok=True)
        if not (folder / f"{root.signed.version}.root.json").exists():
            self.write(f"{root.signed.version}.root.json", root.to_bytes())

    def path(self, name: str) -> Path | None:
        """Return where the metadata file `name` lies; None when there is none of that name."""
        if not _NAME.fullmatch(name):
            return None
        path = self._folder / name
        return path if path.is_file() else None

    def write(self, name: str, data: bytes) -> None:
        """Write a file atomically: readers see the old content or the new, never a mixture.

        Raises:
            StorageError: the disk is full, read-only or not permitted.
        """
        write_bytes_atomically(self._folder / name, data)

    def root(self) -> Metadata[Root]:
        """Return the newest root, following those that came since the last call.

        Raises:
            SignatureError: a root in the folder does not follow the one before it.
            StorageError: a file cannot be read.
        """
        while (name := f"{self._root.signed.version + 1}.root.json") and (self._folder / name).is_file():
            new = decode_root(self.read_bytes(name), source=str(self._folder / name))
            check_successor(self._root, new)
            self._root = new
        return self._root

    def timestamp(self) -> Metadata[Timestamp] | None:
        """Return the timestamp, or None before the first publication.

        Raises:
            StorageError: the file is damaged.
        """
        return self.read("timestamp.json", Timestamp) if (self._folder / "timestamp.json").exists() else None

    def snapshot(self) -> Metadata[Snapshot] | None:
        """Return the current snapshot, or None before the first publication.

        Raises:
            StorageError: a file is missing or damaged.
        """
        timestamp = self.timestamp()
        return self.read(f"{timestamp.signed.snapshot_meta.version}.snapshot.json", Snapshot) if timestamp else None

    def has_snapshots(self) -> bool:
        """Return whether a snapshot was ever written here."""
        return any(self._folder.glob("*.snapshot.json"))

    def targets(self, role: str = Targets.type) -> Metadata[Targets] | None:
        """Return what a role's current targets are, or None before its first publication.

        Raises:
            StorageError: a file is missing or damaged.
        """
        snapshot = self.snapshot()
        meta = snapshot.signed.meta.get(f"{role}.json") if snapshot else None
        return self.read(f"{meta.version}.{role}.json", Targets) if meta else None

    def read(self, name: str, kind: type[Signed]) -> Metadata[Signed]:
        """Return the metadata in the file `name`.

        Raises:
            StorageError: it is missing, damaged or of another kind.
        """
        try:
            metadata = Metadata[Signed].from_bytes(self.read_bytes(name))
        except DeserializationError as error:
            raise StorageError(f"{self._folder / name} is damaged; restore the server's home from a backup") from error
        if not isinstance(metadata.signed, kind):
            raise StorageError(
                f"{self._folder / name} is not {kind.type} metadata; restore the server's home from a backup"
            )
        return metadata

    def read_bytes(self, name: str) -> bytes:
        """Return the bytes of the file `name`.

        Raises:
            StorageError: it cannot be read.
        """
        try:
            return (self._folder / name).read_bytes()
        except OSError as error:
            raise StorageError(
                f"cannot read {self._folder / name} ({error.strerror}); restore the server's home from a backup"
            ) from error
