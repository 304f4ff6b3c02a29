"""Publishing a bundle, on the builder's side: sign with the offline keys, hand over files, then the signature.

The order makes it safe to be stopped: devices see the new release only when the server has signed its timestamp, which
is the last thing that happens.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Protocol

from securesystemslib.signer import Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Targets
from tuf.api.serialization import DeserializationError

from edge_runtime.contract.atomic_files import write_bytes_atomically
from edge_runtime.contract.bundle import MANIFEST_FILE, Bundle, open_bundle
from edge_runtime.contract.delta_making import MakeDelta, make_delta
from edge_runtime.contract.errors import ConfigError, SignatureError
from edge_runtime.contract.release import check_channel
from sync_server.keys import ROOT_FILE, check_signer, expiry, key_path, load_root, load_signer
from sync_server.publication_deltas import MadeDelta, make_deltas
from sync_server.releases import KEPT_RELEASES, DeltaFile, all_releases, kept_releases, next_targets, releases
from sync_server.repository import Repository


class PublicationTarget(Protocol):
    """Where a release goes: a server over the network, or a server's home on this machine."""

    def targets(self) -> bytes | None:
        """Return the targets.json that is served, not to be trusted; None before the first publication."""
        ...

    def missing(self, sha256s: list[str]) -> list[str]:
        """Return those of the files that are not there yet."""
        ...

    def put(self, sha256: str, content: BinaryIO, length: int) -> None:
        """Hand over one file of `length` bytes."""
        ...

    def read(self, sha256: str) -> bytes | None:
        """Return a published file, not to be trusted; None when it is not there."""
        ...

    def publish(self, targets: bytes) -> None:
        """Hand over the signed targets.json; after this devices see the release."""
        ...


@dataclass(frozen=True)
class LocalTarget:
    """A server's home on this machine."""

    repository: Repository
    max_file_bytes: int

    def targets(self) -> bytes | None:
        """Return the targets.json that is served."""
        targets = self.repository.targets()
        return targets.to_bytes() if targets else None

    def missing(self, sha256s: list[str]) -> list[str]:
        """Return those of the files that are not there yet."""
        return [sha256 for sha256 in sha256s if self.repository.files.path(sha256) is None]

    def put(self, sha256: str, content: BinaryIO, length: int) -> None:
        """Store one file."""
        self.repository.files.put(sha256, content, max_bytes=self.max_file_bytes)

    def read(self, sha256: str) -> bytes | None:
        """Return a published file; None when it is not there."""
        path = self.repository.files.path(sha256)
        return None if path is None else path.read_bytes()

    def publish(self, targets: bytes) -> None:
        """Publish the signed targets.json."""
        self.repository.accept(targets)


@dataclass(frozen=True)
class Publication:
    """What was published, and what it took; `deltas` went with it."""

    bundle_id: str
    channel: str
    release: int
    staged: bool
    targets_version: int
    files_uploaded: int
    bytes_uploaded: int
    root_expires: str
    deltas: list[DeltaFile]


def publish(
    bundle_folder: Path,
    *,
    channel: str,
    keys: Path,
    target: PublicationTarget,
    passphrase: bytes | None = None,
    expires_days: int = 365,
    staged: bool = False,
    keep: int = KEPT_RELEASES,
    make: MakeDelta | None = make_delta,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    on_file: Callable[[str, int], None] = lambda name, length: None,
) -> Publication:
    """Check a bundle, sign it and publish it in a channel, with deltas from the releases that devices may have.

    Stopped anywhere, the old release is served, or the new one if it was complete; publishing again carries on.

    Args:
        bundle_folder: the bundle; every digest is compared.
        channel: the channel that gets it.
        keys: the folder that `pocketrec keys init` made.
        target: where the release goes.
        passphrase: of the offline keys, when they are encrypted.
        expires_days: after so many days without a publication devices refuse the release as stale.
        staged: devices install it only where a rollout or an experiment gives it to them.
        keep: how many releases of the channel stay signed, this one among them.
        make: finds deltas; None publishes none.
        clock: gives the time (UTC).
        on_file: called with name and length (bytes) before each upload.

    Raises:
        BundleError: the bundle is damaged.
        ConfigError: the keys do not fit, or an argument is malformed.
        SignatureError: what the server serves was not signed by these keys.
        PublicationError, DownloadError: the server refused it, or cannot be reached.
        StorageError: the disk is full, read-only or not permitted.
    """
    _check_numbers(check_channel(channel), expires_days=expires_days, keep=keep)
    bundle, root = open_bundle(bundle_folder), load_root(keys / ROOT_FILE)
    signer = _offline_signer(root, keys, passphrase)
    remembered, now = keys / "offline" / "targets.json", clock()
    base = _newest_base(root, target.targets(), remembered)
    kept = kept_releases(all_releases(base).get(channel, {}), keep=keep, staged=staged) if base else []
    deltas = list(make_deltas(bundle, earlier=kept, known=base, read=target.read, make=make)) if make else []
    signed = next_targets(
        base,
        bundle,
        channel=channel,
        published_at=now,
        expires=expiry(now, timedelta(days=expires_days)),
        staged=staged,
        keep=keep,
        deltas=[delta.file for delta in deltas],
    )
    data = _signed_bytes(signed, signer)
    uploaded = _upload(bundle, deltas, target, on_file)
    target.publish(data)
    write_bytes_atomically(remembered, data)
    return _publication(bundle, signed, channel=channel, root=root, uploaded=uploaded, deltas=deltas)


def _check_numbers(channel: str, *, expires_days: int, keep: int) -> None:
    if expires_days < 1 or keep < 1:
        raise ConfigError(
            f"channel {channel}: expected at least one day of validity and one kept release, got {expires_days} and {keep}"
        )


def _publication(
    bundle: Bundle,
    signed: Targets,
    *,
    channel: str,
    root: Metadata[Root],
    uploaded: list[int],
    deltas: list[MadeDelta],
) -> Publication:
    note = releases(signed)[channel]
    return Publication(
        bundle_id=bundle.bundle_id,
        channel=channel,
        release=note.release,
        staged=note.staged,
        targets_version=signed.version,
        files_uploaded=len(uploaded),
        bytes_uploaded=sum(uploaded),
        root_expires=root.signed.expires.isoformat(),
        deltas=[delta.file for delta in deltas],
    )


def _offline_signer(root: Metadata[Root], keys: Path, passphrase: bytes | None) -> Signer:
    signer = load_signer(key_path(keys, Targets.type), passphrase=passphrase)
    check_signer(root, Targets.type, signer)
    return signer


def _signed_bytes(signed: Targets, signer: Signer) -> bytes:
    metadata = Metadata(signed)
    metadata.sign(signer)
    return metadata.to_bytes()


def _newest_base(root: Metadata[Root], served: bytes | None, remembered: Path) -> Targets | None:
    # A server that was broken into could serve old targets, or some with files of its own; signing what it serves
    # would make that true. So it must be signed by us, and not older than what we signed last.
    bases = [] if served is None else [_trusted(root, served, "what the server serves")]
    if remembered.exists():
        bases.append(_trusted(root, remembered.read_bytes(), str(remembered)))
    return max(bases, key=lambda targets: targets.version, default=None)


def _trusted(root: Metadata[Root], data: bytes, source: str) -> Targets:
    try:
        metadata = Metadata[Targets].from_bytes(data)
        root.signed.verify_delegate(Targets.type, metadata.signed_bytes, metadata.signatures)
    except (DeserializationError, RepositoryError) as error:
        raise SignatureError(
            f"{source} was not signed by these keys; nothing was published, check the server"
        ) from error
    if not isinstance(metadata.signed, Targets):
        raise SignatureError(f"{source} is no targets.json; nothing was published, check the server")
    return metadata.signed


def _upload(
    bundle: Bundle, deltas: list[MadeDelta], target: PublicationTarget, on_file: Callable[[str, int], None]
) -> list[int]:
    paths = {item.sha256: bundle.folder / item.path for item in bundle.manifest.artifacts}
    paths[bundle.bundle_id] = bundle.folder / MANIFEST_FILE
    made = {delta.file.sha256: delta for delta in deltas}
    missing = set(target.missing(sorted({*paths, *made})))
    lengths = []
    for sha256, path in paths.items():
        if sha256 in missing:
            length = path.stat().st_size
            on_file(path.name, length)
            with path.open("rb") as content:
                target.put(sha256, content, length)
            lengths.append(length)
    for sha256, delta in made.items():
        if sha256 in missing:
            on_file(f"{delta.file.note.kind} delta", delta.file.length_bytes)
            target.put(sha256, delta.content(), delta.file.length_bytes)
            lengths.append(delta.file.length_bytes)
    return lengths
