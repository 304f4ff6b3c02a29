"""Publishes a bundle: signs it with the offline keys, uploads the files, then the signed metadata.

It can be stopped at any point: devices see the new release only when the server has signed its timestamp, which is the
last step.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Protocol

from tuf.api.metadata import Metadata, Root, Targets

from edge_runtime.contract.atomic_files import write_bytes_atomically
from edge_runtime.contract.bundle import MANIFEST_FILE, Bundle, open_bundle
from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.release import check_channel
from pocketrec.publishing.cosigning import write_proposal
from pocketrec.publishing.deltas import MadeDelta, MakeDelta, make_delta, make_deltas
from pocketrec.publishing.signing import Signing, open_signing
from sync_server.repository.keys import expiry
from sync_server.repository.releases import (
    KEPT_RELEASES,
    DeltaFile,
    all_releases,
    kept_releases,
    next_targets,
    releases,
)
from sync_server.repository.tuf_repository import Repository


class PublicationTarget(Protocol):
    """Where a release goes: a server over the network, or a server's home on this machine."""

    def metadata(self, name: str) -> bytes | None:
        """Return the metadata file `name` that is served, not to be trusted; None when there is none."""
        ...

    def targets(self, role: str = Targets.type) -> bytes | None:
        """Return the targets of a role that are served, not to be trusted; None before its first publication."""
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

    def publish(self, targets: bytes, role: str = Targets.type) -> None:
        """Hand over the signed targets of a role; after this devices see the release."""
        ...


@dataclass(frozen=True)
class LocalTarget:
    """A server's home on this machine."""

    repository: Repository
    max_file_bytes: int

    def metadata(self, name: str) -> bytes | None:
        """Return the metadata file `name`, or None when there is none."""
        path = self.repository.metadata_path(name)
        return None if path is None else path.read_bytes()

    def targets(self, role: str = Targets.type) -> bytes | None:
        """Return the targets of a role that are served."""
        targets = self.repository.targets(role)
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

    def publish(self, targets: bytes, role: str = Targets.type) -> None:
        """Publish the signed targets of a role."""
        self.repository.accept(targets, role=role)

    def publish_root(self, data: bytes) -> None:
        """Serve a new root."""
        self.repository.adopt_root(data)


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
    more_keys: Sequence[Path] = (),
    expires_days: int = 365,
    staged: bool = False,
    keep: int = KEPT_RELEASES,
    make: MakeDelta | None = make_delta,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    on_file: Callable[[str, int], None] = lambda name, length: None,
    propose: Path | None = None,
) -> Publication:
    """Check a bundle, sign it and publish it in a channel, with deltas from the releases that devices may have.

    Stopped anywhere, the old release is served, or the new one if it was complete; publishing again carries on.

    Args:
        bundle_folder: the bundle; every digest is compared.
        channel: the channel that gets it.
        keys: the folder that `pocketrec keys init` made, or a team's for its one channel.
        target: where the release goes.
        passphrase: of the offline keys, when they are encrypted.
        more_keys: files of private keys that lie elsewhere, when several must sign.
        expires_days: after so many days without a publication devices refuse the release as stale.
        staged: devices install it only where a rollout or an experiment gives it to them.
        keep: how many releases of the channel stay signed, this one among them.
        make: finds deltas; None publishes none.
        clock: gives the time (UTC).
        on_file: called with name and length (bytes) before each upload.
        propose: where the targets wait for the signatures of others (cosigning.py); the files are handed over already.

    Raises:
        BundleError, ConfigError: the bundle is damaged, the keys do not fit, or an argument is malformed.
        SignatureError: what the server serves was not signed by these keys.
        PublicationError, DownloadError, StorageError: the server refused it, cannot be reached, or the disk is full.
    """
    _check_numbers(check_channel(channel), expires_days=expires_days, keep=keep)
    bundle, now = open_bundle(bundle_folder), clock()
    signing = open_signing(keys, target, channel=channel, passphrase=passphrase, more=more_keys, alone=propose is None)
    base, expires = signing.base, expiry(now, timedelta(days=expires_days))
    kept = kept_releases(all_releases(base).get(channel, {}), keep=keep, staged=staged) if base else []
    deltas = list(make_deltas(bundle, earlier=kept, known=base, read=target.read, make=make)) if make else []
    signed = next_targets(
        base,
        bundle,
        channel=channel,
        published_at=now,
        expires=expires,
        staged=staged,
        keep=keep,
        deltas=[delta.file for delta in deltas],
    )
    uploaded = _upload(bundle, deltas, target, on_file)
    _hand_over(signing.sign(signed), signing, target, propose)
    return _publication(bundle, signed, channel=channel, root=signing.root, uploaded=uploaded, deltas=deltas)


def _hand_over(metadata: Metadata[Targets], signing: Signing, target: PublicationTarget, propose: Path | None) -> None:
    if propose is not None and signing.role != Targets.type:
        raise ConfigError(f"{signing.role} is a team's; its holders sign together with --key, --propose is for targets")
    if propose is not None:
        write_proposal(propose, metadata)
    else:
        target.publish(metadata.to_bytes(), signing.role)
        write_bytes_atomically(signing.remembered, metadata.to_bytes())


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
