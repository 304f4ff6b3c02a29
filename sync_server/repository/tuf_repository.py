"""The TUF repository on the server's disk: accepts targets that the builder signed, adds snapshot and timestamp.

    repository/metadata/<n>.root.json, <n>.targets.json, <n>.channel-<name>.json, <n>.snapshot.json, timestamp.json
    repository/files/…                                                          (file_store.py)

Devices start at timestamp.json, so a release is published when that file is written, which happens last. Stopped before, the
server serves the old release. The keys of root and targets are never on the server.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from edge_runtime.contract.errors import ConfigError, StorageError
from edge_runtime.contract.release import ReleaseNote
from sync_server.errors import PublicationConflictError, PublicationError
from sync_server.repository.delegations import delegated_channels, plain, role_of
from sync_server.repository.file_store import FileStore
from sync_server.repository.keys import ONLINE_ROLES, check_successor, decode_root, expiry, find_signers
from sync_server.repository.metadata_store import MetadataFiles, publication_lock
from sync_server.repository.publication_checks import check_files, checked_targets
from sync_server.repository.releases import all_releases, releases

_LOG = logging.getLogger(__name__)
# A person has to renew root and targets: a month is time enough.
_OFFLINE_WARNING = timedelta(days=30)


@dataclass(frozen=True)
class TrustStatus:
    """One role's metadata: its version, and when devices refuse it (seconds since 1970).

    With less than `warn_s` left, an operator has to act.
    """

    role: str
    version: int
    expires_at_s: float
    warn_s: float


class Repository:
    """The metadata and files that devices download, signed here with the online keys.

    Args:
        folder: the repository's folder; made when missing.
        root: the first root that the server trusts; newer roots in the folder are followed from there.
        keys: folder of the online keys.
        timestamp_lifetime: how long a timestamp is valid; renewed when less than half is left.
        snapshot_lifetime: the same for the snapshot.
        clock: gives the time (UTC).
        files: where the published files are; by default in the folder.

    Raises:
        ConfigError: a key that root trusts is missing.
        StorageError: the disk is full, read-only or not permitted.
    """

    def __init__(
        self,
        folder: Path,
        *,
        root: Metadata[Root],
        keys: Path,
        timestamp_lifetime: timedelta = timedelta(hours=48),
        snapshot_lifetime: timedelta = timedelta(days=14),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        files: FileStore | None = None,
    ) -> None:
        self.files = files or FileStore(folder / "files")
        self._folder = folder
        self._metadata = MetadataFiles(folder / "metadata", root)
        self._keys = keys
        self._timestamp_lifetime = timestamp_lifetime
        self._snapshot_lifetime = snapshot_lifetime
        self._clock = clock
        self._signers_of: tuple[int, dict[str, list[CryptoSigner]]] = (0, {})
        self._online_signers(self.root())

    def metadata_path(self, name: str) -> Path | None:
        """Return where the metadata file `name` lies; None when there is none of that name."""
        return self._metadata.path(name)

    def root(self) -> Metadata[Root]:
        """Return the newest root.

        Raises:
            SignatureError, StorageError: the repository's own files are damaged.
        """
        return self._metadata.root()

    def targets(self, role: str = Targets.type) -> Metadata[Targets] | None:
        """Return the targets of a role that are served, or None before its first publication.

        Raises:
            StorageError: the repository's own files are damaged.
        """
        return self._metadata.targets(role)

    def channel_targets(self, channel: str) -> Targets | None:
        """Return the targets of a channel's releases and files under their plain names, whichever role signs them.

        Raises:
            StorageError: the repository's own files are damaged.
        """
        top = self.targets()
        if top is None or channel not in delegated_channels(top.signed):
            return top.signed if top else None
        own = self.targets(role_of(channel))
        return plain(own.signed, channel) if own else None

    def channel_releases(self, channel: str) -> dict[int, ReleaseNote]:
        """Return every signed release of a channel by its number; none for a channel without any.

        Raises:
            StorageError: the repository's own files are damaged.
        """
        targets = self.channel_targets(channel)
        return all_releases(targets).get(channel, {}) if targets is not None else {}

    def releases(self) -> dict[str, ReleaseNote]:
        """Return the newest release of each channel that is served.

        Raises:
            StorageError: the repository's own files are damaged.
        """
        top = self.targets()
        if top is None:
            return {}
        found = releases(top.signed)
        for channel in delegated_channels(top.signed):
            own = self.channel_targets(channel)
            found.update(releases(own) if own else {})
        return found

    def trust_status(self) -> list[TrustStatus]:
        """Return version and expiry of the served metadata of each role.

        Raises:
            StorageError: the repository's own files are damaged.
        """
        top = self.targets()
        roles = [role_of(channel) for channel in delegated_channels(top.signed)] if top else []
        served = {
            Root.type: self.root(),
            Targets.type: top,
            **{role: self.targets(role) for role in roles},
            Snapshot.type: self._metadata.snapshot(),
            Timestamp.type: self._metadata.timestamp(),
        }
        return [
            TrustStatus(role, item.signed.version, item.signed.expires.timestamp(), self._warn_s(role))
            for role, item in served.items()
            if item is not None
        ]

    def accept(self, data: bytes, *, role: str = Targets.type) -> Metadata[Targets]:
        """Publish targets that the builder, or the team of a delegated channel, signed.

        Stopped anywhere, devices see either the old release or the new one.

        Args:
            data: bytes of the metadata.
            role: the role that signed them.

        Raises:
            SignatureError: not signed by the keys of this role.
            PublicationConflictError: a newer version is published already.
            PublicationError: malformed, expired, about another channel, or a file is missing here.
            StorageError: the disk is full, read-only or not permitted.
        """
        top = self.targets() if role != Targets.type else None
        metadata = checked_targets(data, role=role, root=self.root(), top=top, now=self._clock())
        with publication_lock(self._folder):
            current = self.targets(role)
            if current is not None and metadata.signed.version <= current.signed.version:
                raise PublicationConflictError(
                    f"version {current.signed.version} is published already, this is {metadata.signed.version}; "
                    "publish again to sign a newer one"
                )
            check_files(metadata.signed, role=role, files=self.files)
            self._metadata.write(f"{metadata.signed.version}.{role}.json", data)
            self._sign_timestamp(self._sign_snapshot(metadata.signed.version, data, role=role))
        _LOG.info("published %s version %d", role, metadata.signed.version)
        return metadata

    def adopt_root(self, data: bytes) -> Metadata[Root]:
        """Serve a new root. Snapshot and timestamp are signed by old and new keys, so that devices can follow.

        Stopped anywhere, devices find metadata that the root they have trusts.

        Raises:
            SignatureError: the root does not follow the one before it.
            PublicationError: it has expired, or names online keys that are not here.
            ConfigError: it is not a root.
            StorageError: the disk is full, read-only or not permitted.
        """
        new = decode_root(data, source="the root that was handed over")
        with publication_lock(self._folder):
            old = self.root()
            if new.signed.version == old.signed.version and new.to_bytes() == old.to_bytes():
                return old
            check_successor(old, new)
            if new.signed.is_expired(self._clock()):
                raise PublicationError("the new root has expired already; nothing was changed")
            try:
                self._online_signers(new)
            except ConfigError as error:
                raise PublicationError(
                    "the new root names online keys that this server does not have; on the server's machine: "
                    "pocketrec keys push --store HOME"
                ) from error
            snapshot = self._metadata.snapshot()
            if snapshot is not None:
                self._sign_timestamp(self._sign_snapshot_meta(snapshot.signed.meta, (old, new)), (old, new))
            self._metadata.write(f"{new.signed.version}.root.json", data)
        _LOG.info("root version %d is served", new.signed.version)
        return new

    def renew(self) -> bool:
        """Sign timestamp and snapshot again when less than half of their life is left; return whether any was signed.

        Raises:
            StorageError: the disk is full, read-only or not permitted; the old ones are served.
        """
        if not self._is_old(self._metadata.timestamp(), self._timestamp_lifetime):
            return False
        with publication_lock(self._folder):
            if not self._is_old(self._metadata.timestamp(), self._timestamp_lifetime):
                return False
            snapshot = self._metadata.snapshot()
            if snapshot is None:
                return False
            if self._is_old(snapshot, self._snapshot_lifetime):
                snapshot = self._sign_snapshot_meta(snapshot.signed.meta)
            self._sign_timestamp(snapshot)
        return True

    def raise_versions(self, least: int) -> bool:
        """Sign timestamp and snapshot with a version of at least `least`; return whether any was signed.

        Devices refuse versions below those that they have seen, so this is how they follow a restored server again.

        Raises:
            StorageError: the disk is full, read-only or not permitted; the old ones are served.
        """
        with publication_lock(self._folder):
            timestamp, snapshot = self._metadata.timestamp(), self._metadata.snapshot()
            if timestamp is None or snapshot is None or timestamp.signed.version >= least:
                return False
            # A snapshot's version never passes the timestamp's: one bound holds for both.
            self._sign_timestamp(self._sign_snapshot_meta(snapshot.signed.meta, least=least), least=least)
        _LOG.info("timestamp and snapshot have version %d", least)
        return True

    def renew_if_possible(self) -> None:
        """Renew like `renew`, but only log a failure: the old timestamp is still valid for a while."""
        try:
            self.renew()
        except StorageError as error:
            # Half of the timestamp's life is left: time for the operator to read this.
            _LOG.error("the timestamp was not renewed: %s", error)

    def timestamp_expires(self) -> datetime | None:
        """Return when the served timestamp expires (UTC), or None before the first publication.

        Raises:
            StorageError: the repository's own files are damaged.
        """
        timestamp = self._metadata.timestamp()
        return timestamp.signed.expires if timestamp else None

    def renewal_due(self) -> datetime | None:
        """Return when the timestamp has to be renewed (UTC), or None before the first publication.

        Raises:
            StorageError: the repository's own files are damaged.
        """
        expires = self.timestamp_expires()
        return expires - self._timestamp_lifetime / 2 if expires else None

    def has_metadata(self) -> bool:
        """Return whether anything was published, even when the timestamp is lost."""
        return self._metadata.has_snapshots()

    def check_keys(self) -> None:
        """Check that the online keys on the disk can still sign.

        Raises:
            ConfigError: a key is lost or damaged.
        """
        for role in ONLINE_ROLES:
            find_signers([self._keys], trusted=self.root().signed.roles[role], name=role)

    def _online_signers(self, root: Metadata[Root]) -> dict[str, list[CryptoSigner]]:
        version, signers = self._signers_of
        if version != root.signed.version:
            signers = {
                role: find_signers([self._keys], trusted=root.signed.roles[role], name=role) for role in ONLINE_ROLES
            }
            self._signers_of = (root.signed.version, signers)
        return signers

    def _sign(self, metadata: Metadata[Snapshot] | Metadata[Timestamp], roots: Iterable[Metadata[Root]]) -> None:
        role = metadata.signed.type
        keys: dict[str, CryptoSigner] = {}
        for root in roots:
            for signer in find_signers([self._keys], trusted=root.signed.roles[role], name=role, needed=0):
                keys[signer.public_key.keyid] = signer
        for signer in keys.values() or self._online_signers(self.root())[role]:
            metadata.sign(signer, append=True)

    def _sign_snapshot(self, version: int, data: bytes, *, role: str = Targets.type) -> Metadata[Snapshot]:
        old = self._metadata.snapshot()
        # Every role stays named: devices refuse a snapshot in which a role is missing.
        meta = {**(old.signed.meta if old else {}), f"{role}.json": MetaFile.from_data(version, data, ["sha256"])}
        return self._sign_snapshot_meta(meta)

    def _sign_snapshot_meta(
        self, meta: dict[str, MetaFile], roots: Iterable[Metadata[Root]] = (), *, least: int = 1
    ) -> Metadata[Snapshot]:
        old = self._metadata.snapshot()
        snapshot = Snapshot(
            version=max(least, old.signed.version + 1 if old else 1),
            expires=expiry(self._clock(), self._snapshot_lifetime),
            meta=dict(meta),
        )
        metadata = Metadata(snapshot)
        self._sign(metadata, roots)
        self._metadata.write(f"{snapshot.version}.snapshot.json", metadata.to_bytes())
        return metadata

    def _sign_timestamp(
        self, snapshot: Metadata[Snapshot], roots: Iterable[Metadata[Root]] = (), *, least: int = 1
    ) -> None:
        old = self._metadata.timestamp()
        version = snapshot.signed.version
        data = self._metadata.read_bytes(f"{version}.snapshot.json")
        timestamp = Timestamp(
            version=max(least, old.signed.version + 1 if old else 1),
            expires=expiry(self._clock(), self._timestamp_lifetime),
            snapshot_meta=MetaFile.from_data(version, data, ["sha256"]),
        )
        metadata = Metadata(timestamp)
        self._sign(metadata, roots)
        self._metadata.write("timestamp.json", metadata.to_bytes())

    def _warn_s(self, role: str) -> float:
        # The server renews its own metadata at half of its life. With a quarter left, renewal has failed.
        online = {Snapshot.type: self._snapshot_lifetime, Timestamp.type: self._timestamp_lifetime}
        return online[role].total_seconds() / 4 if role in online else _OFFLINE_WARNING.total_seconds()

    def _is_old(self, metadata: Metadata[Timestamp] | Metadata[Snapshot] | None, lifetime: timedelta) -> bool:
        return metadata is not None and metadata.signed.expires - self._clock() < lifetime / 2
