"""Uploads new roots and delegations to a server, in an order in which every device can follow."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from securesystemslib.signer import Key
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Targets

from edge_runtime.contract.atomic_files import write_bytes_atomically
from edge_runtime.contract.errors import ConfigError, SignatureError
from pocketrec.publishing.key_files import REMEMBERED_TARGETS, RETIRED_FOLDER, offline_places
from pocketrec.publishing.signing import ServedMetadata, newest_base, signed_by
from sync_server.repository.delegations import delegate, undelegate
from sync_server.repository.keys import ROOT_FILE, decode_root, expiry, find_signers, load_root, read_roots


class KeyTarget(ServedMetadata, Protocol):
    """A server that takes roots and targets."""

    def publish(self, targets: bytes, role: str = Targets.type) -> None:
        """Hand over signed targets."""
        ...

    def publish_root(self, data: bytes) -> None:
        """Hand over a root."""
        ...


@dataclass(frozen=True)
class Delivery:
    """What was handed over: the root's version now, how many roots were new, whether the targets were signed again."""

    root_version: int
    new_roots: int
    targets_signed_anew: bool


def push(
    keys: Path,
    target: KeyTarget,
    *,
    passphrase: bytes | None,
    expires_days: int = 365,
    more: Sequence[Path] = (),
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Delivery:
    """Bring a server's root up to that of a key folder; doing it again is harmless.

    When the targets keys changed, the served targets are signed again, by old and new keys where the old ones are still
    in the folder: then they are uploaded before the root, so that no device gets targets that its root does not trust.

    Raises:
        ConfigError: not enough keys are here, or the server's root is newer than this folder's.
        SignatureError: the server has the root of another fleet.
        PublicationError, DownloadError: the server refused, or cannot be reached.
        StorageError: the disk is full, read-only or not permitted.
    """
    newest = load_root(keys / ROOT_FILE)
    served = _served_root(newest, target)
    waiting = [
        data for data in read_roots(keys) if decode_root(data, source="a root").signed.version > served.signed.version
    ]
    remembered = keys / REMEMBERED_TARGETS
    base = newest_base(served.signed, Targets.type, target.targets(), remembered)
    data, roots_first = None, False
    if base is not None and not _trusts(newest.signed, target.targets()):
        places = [*offline_places(keys, more), keys / "offline" / RETIRED_FOLDER]
        old = find_signers(
            places, trusted=served.signed.roles[Targets.type], name="targets", passphrase=passphrase, needed=0
        )
        new = find_signers(places, trusted=newest.signed.roles[Targets.type], name="targets", passphrase=passphrase)
        base.version, base.expires = base.version + 1, expiry(clock(), timedelta(days=expires_days))
        data = signed_by(base, {signer.public_key.keyid: signer for signer in (*old, *new)}.values()).to_bytes()
        roots_first = len(old) < served.signed.roles[Targets.type].threshold
    if data is not None and not roots_first:
        target.publish(data)
    for root in waiting:
        target.publish_root(root)
    if data is not None and roots_first:
        target.publish(data)
    if data is not None:
        write_bytes_atomically(remembered, data)
    return Delivery(newest.signed.version, len(waiting), data is not None)


def _served_root(newest: Metadata[Root], target: ServedMetadata) -> Metadata[Root]:
    if target.metadata(f"{newest.signed.version + 1}.root.json") is not None:
        raise ConfigError("the server has a newer root than this folder; use the folder that made it")
    for version in range(newest.signed.version, 0, -1):
        data = target.metadata(f"{version}.root.json")
        if data is not None:
            served = decode_root(data, source="the server's root")
            if version == newest.signed.version and served.to_bytes() != newest.to_bytes():
                raise SignatureError("the server has another root of this version: it belongs to another fleet")
            return served
    raise ConfigError("the server serves no root; start it first: pocketrec serve --keys")


def _trusts(root: Root, targets: bytes | None) -> bool:
    if targets is None:
        return True
    metadata = Metadata[Targets].from_bytes(targets)
    try:
        root.verify_delegate(Targets.type, metadata.signed_bytes, metadata.signatures)
    except RepositoryError:
        return False
    return True


def delegate_channel(
    keys: Path,
    target: KeyTarget,
    channel: str,
    *,
    public_keys: Iterable[Key],
    threshold: int,
    passphrase: bytes | None,
    expires_days: int = 365,
    more: Sequence[Path] = (),
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> int:
    """Give a channel to the holders of keys, and publish that; return the version of the targets.

    Without keys the channel is taken back.

    Raises:
        ConfigError: the channel has releases already, is not delegated, or not enough targets keys are here.
        SignatureError, PublicationError, DownloadError: as `publisher.publish`.
    """
    root = load_root(keys / ROOT_FILE)
    trusted = root.signed.roles[Targets.type]
    signers = find_signers(offline_places(keys, more), trusted=trusted, name="targets", passphrase=passphrase)
    remembered = keys / REMEMBERED_TARGETS
    base = newest_base(root.signed, Targets.type, target.targets(), remembered)
    expires = expiry(clock(), timedelta(days=expires_days))
    given = list(public_keys)
    if given:
        signed = delegate(base, channel, keys=given, threshold=threshold, expires=expires)
    else:
        signed = undelegate(base, channel, expires=expires)
    data = signed_by(signed, signers).to_bytes()
    target.publish(data)
    write_bytes_atomically(remembered, data)
    return int(signed.version)
