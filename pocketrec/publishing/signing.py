"""Who signs a channel: the holders of the targets keys, or a team that the channel was delegated to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Role, Root, Targets
from tuf.api.serialization import DeserializationError

from edge_runtime.contract.errors import ConfigError, SignatureError
from pocketrec.publishing.key_files import REMEMBERED_TARGETS, find_cosigners, offline_places, write_root
from sync_server.repository.delegations import channel_of, delegated_channels, plain, role_of, scoped
from sync_server.repository.keys import ROOT_FILE, check_successor, decode_root, find_signers, load_root


class ServedMetadata(Protocol):
    """What a server serves, not yet verified."""

    def metadata(self, name: str) -> bytes | None:
        """Return the metadata file `name`, or None when there is none."""
        ...

    def targets(self, role: str = Targets.type) -> bytes | None:
        """Return the targets of a role, or None before its first publication."""
        ...


@dataclass(frozen=True)
class Signing:
    """What is needed to sign a channel's next release.

    Attributes:
        role: who signs: targets, or the role of a delegated channel.
        root: the newest root.
        signers: enough keys of the role.
        base: what the role signed last, under plain names; None before the first time.
        remembered: where what it signs next is remembered.
    """

    role: str
    root: Metadata[Root]
    signers: list[CryptoSigner]
    base: Targets | None
    remembered: Path

    def sign(self, targets: Targets) -> Metadata[Targets]:
        """Return `targets`, which have plain names, signed."""
        channel = channel_of(self.role)
        return signed_by(scoped(targets, channel) if channel else targets, self.signers)


def signed_by(targets: Targets, signers: Iterable[CryptoSigner]) -> Metadata[Targets]:
    """Return targets signed by all of `signers`."""
    metadata = Metadata(targets)
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata


def open_signing(
    keys: Path,
    served: ServedMetadata,
    *,
    channel: str,
    passphrase: bytes | None,
    more: Sequence[Path] = (),
    alone: bool = True,
) -> Signing:
    """Find who signs `channel` with the keys in a folder, and what was signed before.

    Args:
        keys: a folder of `pocketrec keys init`, or of `pocketrec keys team` for its one channel.
        served: the server.
        channel: what is to be published.
        passphrase: of the keys that are encrypted.
        more: files of keys that others hold.
        alone: as many keys must be here as must sign; otherwise others add their signatures.

    Raises:
        ConfigError: not enough keys are here, or the channel is another's to sign.
        SignatureError: what the server serves was not signed by the keys that root trusts.
        DownloadError: the server cannot be reached.
    """
    root = follow_roots(keys, served)
    places = offline_places(keys, more)
    role = role_of(channel)
    if not any((keys / "offline").glob(f"{role}*.pem")):
        trusted: Role = root.signed.roles[Targets.type]
        find = find_signers if alone else find_cosigners
        signers = find(places, trusted=trusted, name=Targets.type, passphrase=passphrase)
        remembered = keys / REMEMBERED_TARGETS
        base = newest_base(root.signed, Targets.type, served.targets(), remembered)
        if base is not None and channel in delegated_channels(base):
            raise ConfigError(f"channel {channel} was delegated to a team, which signs it; see: pocketrec keys status")
        return Signing(Targets.type, root, signers, base, remembered)
    data = served.targets()
    top = _verified(root.signed, Targets.type, data, "what the server serves") if data else None
    delegated = delegated_channels(top).get(channel) if top else None
    if top is None or delegated is None:
        raise ConfigError(
            f"channel {channel} is not delegated to anybody yet; the fleet's owner runs: pocketrec keys delegate"
        )
    signers = find_signers(places, trusted=delegated, name=role, passphrase=passphrase)
    remembered = keys / "offline" / f"{role}.json"
    base = newest_base(top, role, served.targets(role), remembered)
    return Signing(role, root, signers, plain(base, channel) if base else None, remembered)


def newest_base(delegator: Root | Targets, role: str, served: bytes | None, remembered: Path) -> Targets | None:
    """Return what a role signed last, as the server or this folder knows it.

    A server that was broken into could serve old targets, or some with files of its own, or some that a key signed
    which was rotated out because it was stolen; signing what it serves would make that true. So it must be signed by
    the keys of today, or be what this folder remembers, and not older than that.

    Raises:
        SignatureError: it is not.
    """
    own = remembered.read_bytes() if remembered.exists() else None
    bases = [] if own is None else [_decoded(own, str(remembered))]
    if served is not None and served != own:
        bases.append(_verified(delegator, role, served, "what the server serves"))
    return max(bases, key=lambda targets: targets.version, default=None)


def follow_roots(keys: Path, served: ServedMetadata) -> Metadata[Root]:
    """Return the newest root, following the server's as a device would; new ones are kept in the folder.

    Raises:
        SignatureError: a root does not follow the one before it.
    """
    root = load_root(keys / ROOT_FILE)
    while (data := served.metadata(f"{root.signed.version + 1}.root.json")) is not None:
        new = decode_root(data, source="a root that the server serves")
        check_successor(root, new)
        write_root(keys, new)
        root = new
    return root


def _decoded(data: bytes, source: str) -> Targets:
    try:
        metadata = Metadata[Targets].from_bytes(data)
    except DeserializationError as error:
        raise SignatureError(f"{source} is no targets.json; nothing was published, remove it or restore it") from error
    if not isinstance(metadata.signed, Targets):
        raise SignatureError(f"{source} is no targets.json; nothing was published, check the server")
    return metadata.signed


def _verified(delegator: Root | Targets, role: str, data: bytes, source: str) -> Targets:
    try:
        metadata = Metadata[Targets].from_bytes(data)
        delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except (DeserializationError, RepositoryError, ValueError) as error:
        raise SignatureError(
            f"{source} was not signed by these keys; nothing was published, check the server"
        ) from error
    return _decoded(data, source)
