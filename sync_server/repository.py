"""The TUF repository on the server's disk: takes targets that the builder signed, adds snapshot and timestamp.

    repository/metadata/<n>.root.json, <n>.targets.json, <n>.snapshot.json, timestamp.json
    repository/files/…                                                          (storage.py)

Devices start at timestamp.json, so writing it last is what publishes: stopped before, the old release is served.
The keys for root and targets are never here.
"""

import contextlib
import fcntl
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from edge_runtime.contract.atomic_files import disk_errors_named, write_bytes_atomically
from edge_runtime.contract.errors import SignatureError, StorageError
from edge_runtime.contract.release import ReleaseNote, file_target
from sync_server.errors import PublicationConflictError, PublicationError
from sync_server.keys import check_signer, expiry
from sync_server.releases import all_releases, releases
from sync_server.storage import FileStore

_Signed = TypeVar("_Signed", Snapshot, Targets, Timestamp)

_LOG = logging.getLogger(__name__)
_OFFLINE_WARNING = timedelta(days=30)
_METADATA_NAME = re.compile(r"timestamp\.json|[1-9][0-9]{0,8}\.(?:root|snapshot|targets)\.json")


@dataclass(frozen=True)
class TrustStatus:
    """One role's metadata: its version, and when devices refuse it (seconds since 1970).

    With less than `warn_s` left somebody has to do something.
    """

    role: str
    version: int
    expires_at_s: float
    warn_s: float


class Repository:
    """What devices download, and the online half of signing it.

    Args:
        folder: the repository's folder; made when missing.
        root: the trusted root.
        snapshot_signer: the online key of role snapshot.
        timestamp_signer: the online key of role timestamp.
        timestamp_lifetime: how long a timestamp is valid; renewed when less than half is left.
        snapshot_lifetime: the same for the snapshot.
        clock: gives the time (UTC).
        files: where the published files are; by default in the folder.

    Raises:
        ConfigError: a key is not the one that root trusts.
        StorageError: the disk is full, read-only or not permitted.
    """

    def __init__(
        self,
        folder: Path,
        *,
        root: Metadata[Root],
        snapshot_signer: CryptoSigner,
        timestamp_signer: CryptoSigner,
        timestamp_lifetime: timedelta = timedelta(hours=48),
        snapshot_lifetime: timedelta = timedelta(days=14),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        files: FileStore | None = None,
    ) -> None:
        check_signer(root, Snapshot.type, snapshot_signer)
        check_signer(root, Timestamp.type, timestamp_signer)
        self.files = files or FileStore(folder / "files")
        self._folder = folder
        self._metadata = folder / "metadata"
        self._root = root
        self._snapshot_signer = snapshot_signer
        self._timestamp_signer = timestamp_signer
        self._timestamp_lifetime = timestamp_lifetime
        self._snapshot_lifetime = snapshot_lifetime
        self._clock = clock
        with disk_errors_named(folder):
            self._metadata.mkdir(parents=True, exist_ok=True)
        root_path = self._metadata / f"{root.signed.version}.root.json"
        if not root_path.exists():
            write_bytes_atomically(root_path, root.to_bytes())

    def metadata_path(self, name: str) -> Path | None:
        """Return where the metadata file `name` lies; None when there is none of that name."""
        if not _METADATA_NAME.fullmatch(name):
            return None
        path = self._metadata / name
        return path if path.is_file() else None

    def targets(self) -> Metadata[Targets] | None:
        """Return the targets that are served, or None before the first publication.

        Raises:
            StorageError: the repository's own files are damaged.
        """
        snapshot = self._snapshot()
        if snapshot is None:
            return None
        return self._read(f"{snapshot.signed.meta['targets.json'].version}.targets.json", Targets)

    def releases(self) -> dict[str, ReleaseNote]:
        """Return the newest release of each channel that is served.

        Raises:
            StorageError: the repository's own files are damaged.
        """
        targets = self.targets()
        return releases(targets.signed) if targets else {}

    def trust_status(self) -> list[TrustStatus]:
        """Return how long the metadata that is served is good for.

        Raises:
            StorageError: the repository's own files are damaged.
        """
        served = [self._root, self.targets(), self._snapshot(), self._timestamp()]
        return [
            TrustStatus(
                item.signed.type, item.signed.version, item.signed.expires.timestamp(), self._warn_s(item.signed.type)
            )
            for item in served
            if item is not None
        ]

    def accept(self, data: bytes) -> Metadata[Targets]:
        """Publish targets that the builder signed.

        Stopped anywhere, devices see either the old release or the new one.

        Args:
            data: bytes of a targets.json.

        Raises:
            SignatureError: not signed by the targets key that root trusts.
            PublicationConflictError: a newer version is published already.
            PublicationError: malformed, expired, or a file is missing here.
            StorageError: the disk is full, read-only or not permitted.
        """
        metadata = self._checked(data)
        with self._locked():
            current = self.targets()
            if current is not None and metadata.signed.version <= current.signed.version:
                raise PublicationConflictError(
                    f"version {current.signed.version} is published already, this is {metadata.signed.version}; "
                    "publish again to sign a newer one"
                )
            self._check_files(metadata.signed)
            write_bytes_atomically(self._metadata / f"{metadata.signed.version}.targets.json", data)
            self._sign_timestamp(self._sign_snapshot(metadata.signed.version, data))
        _LOG.info("published targets version %d", metadata.signed.version)
        return metadata

    def renew(self) -> bool:
        """Sign timestamp and snapshot anew when less than half of their life is left; return whether any was.

        Raises:
            StorageError: the disk is full, read-only or not permitted; the old ones are served.
        """
        if not self._is_old(self._timestamp(), self._timestamp_lifetime):
            return False
        with self._locked():
            if not self._is_old(self._timestamp(), self._timestamp_lifetime):
                return False
            snapshot = self._snapshot()
            if snapshot is None:
                return False
            if self._is_old(snapshot, self._snapshot_lifetime):
                version = snapshot.signed.meta["targets.json"].version
                snapshot = self._sign_snapshot(version, self._read_bytes(f"{version}.targets.json"))
            self._sign_timestamp(snapshot)
        return True

    def timestamp_expires(self) -> datetime | None:
        """Return when the served timestamp expires (UTC), or None before the first publication.

        Raises:
            StorageError: the repository's own files are damaged.
        """
        timestamp = self._timestamp()
        return timestamp.signed.expires if timestamp else None

    def renewal_due(self) -> datetime | None:
        """Return when the timestamp has to be renewed (UTC), or None before the first publication.

        Raises:
            StorageError: the repository's own files are damaged.
        """
        expires = self.timestamp_expires()
        return expires - self._timestamp_lifetime / 2 if expires else None

    def _checked(self, data: bytes) -> Metadata[Targets]:
        try:
            metadata = Metadata[Targets].from_bytes(data)
        except DeserializationError as error:
            raise PublicationError("the body is not a targets.json; nothing was published") from error
        if metadata.signed.type != Targets.type:
            raise PublicationError(f"expected targets metadata, got {metadata.signed.type}; nothing was published")
        try:
            self._root.signed.verify_delegate(Targets.type, metadata.signed_bytes, metadata.signatures)
        except RepositoryError as error:
            raise SignatureError(
                "the targets are not signed by the key that this server's root.json trusts; nothing was published"
            ) from error
        if metadata.signed.is_expired(self._clock()):
            raise PublicationError("the targets have expired already; nothing was published")
        return metadata

    def _check_files(self, targets: Targets) -> None:
        for path, target in targets.targets.items():
            stored = self.files.path(target.hashes.get("sha256", ""))
            if stored is None or stored.stat().st_size != target.length:
                raise PublicationError(f"the signed file {path} was not uploaded; nothing was published")
        notes = [(channel, note) for channel, found in all_releases(targets).items() for note in found.values()]
        for channel, note in notes:
            missing = [digest for digest in note.files if file_target(digest) not in targets.targets]
            if missing:
                raise PublicationError(
                    f"channel {channel} names {len(missing)} files that are not signed; nothing was published"
                )

    def _sign_snapshot(self, targets_version: int, targets_data: bytes) -> Metadata[Snapshot]:
        old = self._snapshot()
        snapshot = Snapshot(
            version=old.signed.version + 1 if old else 1,
            expires=expiry(self._clock(), self._snapshot_lifetime),
            meta={"targets.json": MetaFile.from_data(targets_version, targets_data, ["sha256"])},
        )
        metadata = Metadata(snapshot)
        metadata.sign(self._snapshot_signer)
        write_bytes_atomically(self._metadata / f"{snapshot.version}.snapshot.json", metadata.to_bytes())
        return metadata

    def _sign_timestamp(self, snapshot: Metadata[Snapshot]) -> None:
        old = self._timestamp()
        version = snapshot.signed.version
        timestamp = Timestamp(
            version=old.signed.version + 1 if old else 1,
            expires=expiry(self._clock(), self._timestamp_lifetime),
            snapshot_meta=MetaFile.from_data(version, self._read_bytes(f"{version}.snapshot.json"), ["sha256"]),
        )
        metadata = Metadata(timestamp)
        metadata.sign(self._timestamp_signer)
        write_bytes_atomically(self._metadata / "timestamp.json", metadata.to_bytes())

    def _timestamp(self) -> Metadata[Timestamp] | None:
        if not (self._metadata / "timestamp.json").exists():
            return None
        return self._read("timestamp.json", Timestamp)

    def _snapshot(self) -> Metadata[Snapshot] | None:
        timestamp = self._timestamp()
        if timestamp is None:
            return None
        return self._read(f"{timestamp.signed.snapshot_meta.version}.snapshot.json", Snapshot)

    def _warn_s(self, role: str) -> float:
        # The server renews its own at half of their life; a quarter left means that it could not.
        online = {Snapshot.type: self._snapshot_lifetime, Timestamp.type: self._timestamp_lifetime}
        return online[role].total_seconds() / 4 if role in online else _OFFLINE_WARNING.total_seconds()

    def _is_old(self, metadata: Metadata[Timestamp] | Metadata[Snapshot] | None, lifetime: timedelta) -> bool:
        return metadata is not None and metadata.signed.expires - self._clock() < lifetime / 2

    def _read(self, name: str, kind: type[_Signed]) -> Metadata[_Signed]:
        try:
            metadata = Metadata[_Signed].from_bytes(self._read_bytes(name))
        except DeserializationError as error:
            raise StorageError(
                f"{self._metadata / name} is damaged; restore the server's home from a backup"
            ) from error
        if not isinstance(metadata.signed, kind):
            raise StorageError(f"{self._metadata / name} is no {kind.type}; restore the server's home from a backup")
        return metadata

    def _read_bytes(self, name: str) -> bytes:
        try:
            return (self._metadata / name).read_bytes()
        except OSError as error:
            raise StorageError(
                f"cannot read {self._metadata / name} ({error.strerror}); restore the server's home from a backup"
            ) from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        # Workers are processes: only a lock of the operating system keeps two of them from signing the same version.
        with disk_errors_named(self._folder), (self._folder / "lock").open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
