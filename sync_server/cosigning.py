"""Signing by several people on several machines: a file of metadata goes round until enough keys have signed it.

A proposal is plain TUF metadata (root, or targets of the targets role) that too few keys have signed. `publish --propose`
and `keys rotate --propose` write one, `keys sign` adds a signature on the machine of a key's holder, without a server,
and `keys finish` hands over what enough have signed. Nobody trusts the file: each step checks it against the root.json
that its own folder of keys holds.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Role, Root, Targets, VerificationResult
from tuf.api.serialization import DeserializationError

from edge_runtime.contract.atomic_files import write_bytes_atomically
from edge_runtime.contract.errors import ConfigError, SignatureError
from sync_server.delegations import delegated_channels
from sync_server.keys import ROOT_FILE, check_successor, find_signers, load_root, offline_places, write_root
from sync_server.releases import all_releases
from sync_server.signing import ServedMetadata

REMEMBERED_TARGETS = Path("offline") / "targets.json"

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
    """Read a proposal; nothing of it is checked yet.

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
    before = known_targets(keys)
    if isinstance(signed, Targets) and before is not None and signed.version <= before.version:
        raise SignatureError(
            f"targets version {signed.version} is not newer than version {before.version}, which these keys signed already"
        )
    by_id = {keyid: None for one in results for keyid in one.signed}
    open_ids = {keyid: None for one in results for keyid in one.unsigned if keyid not in by_id}
    return Progress(signed.type, signed.version, list(by_id), list(open_ids), max(one.missing for one in results))


def sign_proposal(
    metadata: Proposed, keys: Path, *, passphrase: bytes | None, more: Sequence[Path] = ()
) -> list[CryptoSigner]:
    """Add the signatures of the keys at hand that may sign; return those keys.

    Raises:
        ConfigError: no key here may sign it, or one cannot be read.
        SignatureError: as `check_proposal`.
    """
    check_proposal(metadata, keys)
    root = load_root(keys / ROOT_FILE)
    places = offline_places(keys, more)
    signers: dict[str, CryptoSigner] = {}
    for trusted in _roles(metadata, root):
        found = find_signers(places, trusted=trusted, name=metadata.signed.type, passphrase=passphrase, needed=0)
        signers |= {signer.public_key.keyid: signer for signer in found}
    if not signers:
        raise ConfigError(
            f"none of the keys here is a {metadata.signed.type} key of this fleet; name the file of yours by --key"
        )
    for signer in signers.values():
        metadata.sign(signer, append=True)
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


def known_targets(keys: Path, served: ServedMetadata | None = None) -> Targets | None:
    """Return what the targets role signed last, as a folder of keys remembers it or, where it does not, a server says.

    A server's word only serves to show what would change.
    """
    path = keys / REMEMBERED_TARGETS
    data = path.read_bytes() if path.exists() else served.targets() if served else None
    return Metadata[Targets].from_bytes(data).signed if data else None


def describe(metadata: Proposed, keys: Path) -> Iterator[str]:
    """Yield in plain words, line by line, what a signature under the proposal would say."""
    signed = metadata.signed
    yield f"{signed.type} version {signed.version}, valid until {signed.expires:%Y-%m-%d}"
    if isinstance(signed, Root):
        yield from _root_changes(load_root(keys / ROOT_FILE).signed, signed)
    else:
        before = known_targets(keys)
        if before is None:
            yield "this folder has signed no targets yet: all that they say is listed"
        yield from _targets_changes(before, signed)


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


def _root_changes(old: Root, new: Root) -> Iterator[str]:
    unchanged = True
    for role, now in new.roles.items():
        was = old.roles[role]
        for verb, ids in (("removes", _without(was.keyids, now.keyids)), ("adds", _without(now.keyids, was.keyids))):
            for keyid in ids:
                unchanged = False
                yield f"{verb} {role} key {keyid[:8]}"
        if now.threshold != was.threshold:
            unchanged = False
            yield f"{role}: {now.threshold} of {len(now.keyids)} keys must sign, until now {was.threshold}"
    if unchanged:
        yield "no key changes: it says the same for longer"


def _targets_changes(old: Targets | None, new: Targets) -> Iterator[str]:
    before, after = all_releases(old) if old else {}, all_releases(new)
    for channel in sorted({*before, *after}):
        was, now = before.get(channel, {}), after.get(channel, {})
        for number in sorted(now.keys() - was.keys()):
            note = now[number]
            staged = ", only where a rollout gives it" if note.staged else ""
            yield f"channel {channel}: adds release {number}, bundle {note.bundle_id}{staged}"
        for number in sorted(was.keys() - now.keys()):
            yield f"channel {channel}: removes release {number}, bundle {was[number].bundle_id}"
        for number in sorted(number for number in was.keys() & now.keys() if was[number] != now[number]):
            yield f"channel {channel}: CHANGES release {number}, bundle {now[number].bundle_id}"
    given, taken = delegated_channels(new), delegated_channels(old) if old else {}
    for channel in sorted({*given, *taken}):
        mine, theirs = given.get(channel), taken.get(channel)
        if mine != theirs:
            keys = ", ".join(keyid[:8] for keyid in mine.keyids) if mine else "nobody"
            yield f"channel {channel}: is given to {keys}"
    files, known = new.targets, old.targets if old else {}
    yield f"files: {len(files.keys() - known.keys())} added, {len(known.keys() - files.keys())} removed, {len(files)} in all"


def _without(ids: Iterable[str], others: Iterable[str]) -> list[str]:
    kept = set(others)
    return [one for one in ids if one not in kept]
