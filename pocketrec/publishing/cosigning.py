"""Signing by several people on several machines: a metadata file goes from holder to holder until enough have signed.

A proposal is plain TUF metadata (root, or targets of the targets role) that too few keys have signed. `publish --propose`
and `keys rotate --propose` write one, `keys sign` adds a signature on the machine of a key's holder, without a server,
and `keys finish` uploads what enough have signed. The file is not trusted: each step checks it against the root.json in
its own folder of keys.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Role, Root, Targets, VerificationResult
from tuf.api.serialization import DeserializationError

from edge_runtime.contract.atomic_files import disk_errors_named, write_bytes_atomically
from edge_runtime.contract.errors import ConfigError, SignatureError
from pocketrec.publishing.key_files import REMEMBERED_TARGETS, find_cosigners, offline_places, write_root
from pocketrec.publishing.proposal_diff import root_changes, targets_changes
from sync_server.repository.keys import ROOT_FILE, check_successor, load_root

COSIGNED_TARGETS = Path("offline") / "cosigned.json"
"""The newest targets that the keys of this folder signed for somebody else to finish; perhaps nobody ever did."""

Proposed = Metadata[Root] | Metadata[Targets]


@dataclass(frozen=True)
class Progress:
    """How far a proposal is: who signed, who may still, how many are missing; key ids."""

    role: str
    version: int
    signed: list[str]
    unsigned: list[str]
    missing: int


def write_proposal(path: Path, metadata: Proposed) -> None:
    """Write a proposal.

    Raises:
        StorageError: the disk is full, read-only or not permitted.
    """
    write_bytes_atomically(path, metadata.to_bytes())


def read_proposal(path: Path) -> Proposed:
    """Read a proposal without checking it.

    Raises:
        ConfigError: the file cannot be read or is no root or targets metadata.
    """
    try:
        metadata: Metadata[Any] = Metadata.from_bytes(path.read_bytes())
    except (OSError, DeserializationError) as error:
        raise ConfigError(
            f"{path} is no proposal; publish --propose and keys rotate --propose write one ({type(error).__name__})"
        ) from error
    if not isinstance(metadata.signed, Root | Targets):
        raise ConfigError(f"{path} is {metadata.signed.type} metadata, expected root or targets")
    return metadata


def check_proposal(metadata: Proposed, keys: Path) -> Progress:
    """Check a proposal against a folder of keys and return how far it is.

    Args:
        metadata: the proposal.
        keys: a folder with root.json and, where its keys signed targets before, those.

    Raises:
        ConfigError: the folder has no root.json.
        SignatureError: the proposal is not newer than what is known, or was changed after somebody signed it.
    """
    root, signed = load_root(keys / ROOT_FILE), metadata.signed
    results = _results(metadata, root)
    known = {keyid: key for one in results for keyid, key in (*one.signed.items(), *one.unsigned.items())}
    for keyid, signature in metadata.signatures.items():
        try:
            known[keyid].verify_signature(signature, metadata.signed_bytes)
        except KeyError:
            raise SignatureError(
                f"key {keyid[:8]} signed this, which is no {signed.type} key; start anew with --propose"
            ) from None
        except UnverifiedSignatureError as error:
            raise SignatureError(
                f"this was changed after key {keyid[:8]} signed it; ask for the file again and sign nothing"
            ) from error
    if isinstance(signed, Targets):
        _check_newer(signed, keys)
    by_id = {keyid: None for one in results for keyid in one.signed}
    open_ids = {keyid: None for one in results for keyid in one.unsigned if keyid not in by_id}
    return Progress(signed.type, signed.version, list(by_id), list(open_ids), max(one.missing for one in results))


def sign_proposal(
    metadata: Proposed, keys: Path, *, passphrase: bytes | None, more: Sequence[Path] = ()
) -> list[CryptoSigner]:
    """Add the signatures of the available keys that may sign; return those keys.

    Raises:
        ConfigError: no key here may sign it, or one cannot be read.
        SignatureError: as `check_proposal`.
        StorageError: what was signed cannot be remembered.
    """
    check_proposal(metadata, keys)
    root = load_root(keys / ROOT_FILE)
    places = offline_places(keys, more)
    signers: dict[str, CryptoSigner] = {}
    for trusted in _roles(metadata, root):
        found = find_cosigners(places, trusted=trusted, name=metadata.signed.type, passphrase=passphrase)
        signers |= {signer.public_key.keyid: signer for signer in found}
    if not signers:
        raise ConfigError(
            f"none of the keys here is a {metadata.signed.type} key of this fleet; name the file of yours by --key"
        )
    for signer in signers.values():
        metadata.sign(signer, append=True)
    if isinstance(metadata.signed, Targets):
        # Before the proposal is written: what left this machine signed must be known here.
        path = keys / COSIGNED_TARGETS
        with disk_errors_named(path):
            path.parent.mkdir(mode=0o700, exist_ok=True)
        write_bytes_atomically(path, metadata.to_bytes())
    return list(signers.values())


def finished_root(metadata: Metadata[Root], keys: Path) -> list[tuple[str, list[str]]]:
    """Make a root that enough have signed the newest of a folder; return the keys that it retires, by role.

    Raises:
        SignatureError: too few signed it, or it does not follow the folder's root.
        StorageError: the disk is full, read-only or not permitted.
    """
    old = load_root(keys / ROOT_FILE)
    try:
        metadata.signed.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
    except RepositoryError as error:
        raise SignatureError(
            f"root version {metadata.signed.version} is not signed by enough of its own keys"
        ) from error
    check_successor(old, metadata)
    write_root(keys, old)
    write_root(keys, metadata)
    return [
        (role, [keyid for keyid in old.signed.roles[role].keyids if keyid not in metadata.signed.roles[role].keyids])
        for role in old.signed.roles
    ]


def _check_newer(proposed: Targets, keys: Path) -> None:
    published, cosigned = (_remembered(keys / path) for path in (REMEMBERED_TARGETS, COSIGNED_TARGETS))
    if published is not None and proposed.version <= published.version:
        raise SignatureError(
            f"targets version {proposed.version} is not newer than version {published.version}, "
            "which these keys signed already"
        )
    if cosigned is not None and proposed.version < cosigned.version:
        raise SignatureError(
            f"targets version {proposed.version} is older than version {cosigned.version}, which these keys signed already; "
            f"if that was never published, remove {keys / COSIGNED_TARGETS}"
        )


def _remembered(path: Path) -> Targets | None:
    if not path.exists():
        return None
    try:
        return Metadata[Targets].from_bytes(path.read_bytes()).signed
    except DeserializationError as error:
        raise ConfigError(f"{path} is no targets.json; restore it, or remove it to sign without a memory") from error


def describe(metadata: Proposed, keys: Path) -> Iterator[str]:
    """Yield in plain words, line by line, what a signature under the proposal would say.

    Every difference to the version before that a device would act on has a line.
    """
    signed = metadata.signed
    if isinstance(signed, Root):
        old = load_root(keys / ROOT_FILE).signed
        yield _heading(signed, old)
        yield from root_changes(old, signed)
        return
    cosigned = _remembered(keys / COSIGNED_TARGETS)
    known = [_remembered(keys / REMEMBERED_TARGETS), cosigned]
    earlier = [one for one in known if one is not None and one.version < signed.version]
    before = max(earlier, key=lambda targets: targets.version, default=None)
    yield _heading(signed, before)
    if before is None:
        yield "this folder has signed no targets yet: all that they say is listed"
    if cosigned is not None and cosigned.version == signed.version and cosigned != signed:
        yield f"WARNING: these keys signed another version {signed.version} before; only one of them may be published"
    yield from targets_changes(before, signed)


def _heading(new: Root | Targets, old: Root | Targets | None) -> str:
    until = f"; version {old.version} until {old.expires:%Y-%m-%d}" if old else ""
    return f"{new.type} version {new.version}, valid until {new.expires:%Y-%m-%d}{until}"


def _results(metadata: Proposed, root: Metadata[Root]) -> list[VerificationResult]:
    """Return the verdict of each role whose threshold the proposal has to reach."""
    payload, signatures = metadata.signed_bytes, metadata.signatures
    if isinstance(metadata.signed, Root):
        if metadata.signed.version != root.signed.version + 1:
            raise SignatureError(
                f"root version {metadata.signed.version} does not follow version {root.signed.version}, which this folder "
                "has; bring its root.json up to date or ask for another proposal"
            )
        return [one.get_verification_result(Root.type, payload, signatures) for one in (root.signed, metadata.signed)]
    return [root.signed.get_verification_result(Targets.type, payload, signatures)]


def _roles(metadata: Proposed, root: Metadata[Root]) -> list[Role]:
    if isinstance(metadata.signed, Root):
        return [root.signed.roles[Root.type], metadata.signed.roles[Root.type]]
    return [root.signed.roles[Targets.type]]
