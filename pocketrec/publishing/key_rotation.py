"""Rotates keys so that devices can follow: each new root is signed by its own keys and by those of the root before."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root

from edge_runtime.contract.atomic_files import disk_errors_named
from edge_runtime.contract.errors import ConfigError
from pocketrec.publishing.cosigning import write_proposal
from pocketrec.publishing.key_files import (
    OFFLINE_ROLES,
    RETIRED_FOLDER,
    find_cosigners,
    key_path,
    offline_places,
    write_key,
    write_root,
)
from sync_server.repository.keys import (
    ONLINE_ROLES,
    ROOT_FILE,
    decode_root,
    expiry,
    find_signers,
    load_root,
    load_signer,
)


@dataclass(frozen=True)
class Rotation:
    """What a rotation did: the new root's version, the ids of the keys that went and of those that came."""

    role: str
    root_version: int
    retired: list[str]
    added: list[str]


def rotate(
    keys: Path,
    role: str,
    *,
    expires_days: int,
    passphrase: bytes | None,
    now: datetime,
    only: Sequence[str] = (),
    more: Sequence[Path] = (),
    propose: Path | None = None,
) -> Rotation:
    """Give a role new keys, as many as it had, and write the root that says so.

    Nothing is served yet: `pocketrec keys push` hands the new root to the server. Stopped halfway, the old root.json is
    there, and key files that nobody trusts may lie beside the old ones.

    Args:
        keys: the key folder.
        role: root, targets, snapshot or timestamp.
        expires_days: validity of the new root.
        passphrase: of the offline keys, old and new.
        now: the time from which the validity counts.
        only: beginnings of the ids of the keys to replace; all keys of the role by default.
        more: files of root keys that lie elsewhere.
        propose: where the root waits for the signatures of others (cosigning.py), in place of the folder; the new keys
            are made, the old ones stay until it is finished.

    Raises:
        ConfigError: not enough root keys are here (without `propose`), or an argument is malformed.
        StorageError: the disk is full, read-only or not permitted.
    """
    if role not in (*OFFLINE_ROLES, *ONLINE_ROLES):
        raise ConfigError(f"role {role!r}: expected one of {', '.join((*OFFLINE_ROLES, *ONLINE_ROLES))}")
    old = load_root(keys / ROOT_FILE)
    trusted = old.signed.roles[Root.type]
    find = find_signers if propose is None else find_cosigners
    signers = find(offline_places(keys, more), trusted=trusted, name="root", passphrase=passphrase)
    gone = _chosen(old.signed.roles[role].keyids, only, role)
    fresh = [CryptoSigner(Ed25519PrivateKey.generate()) for _ in gone]
    online = role in ONLINE_ROLES
    for signer in fresh:
        name = f"{role}-{signer.public_key.keyid[:8]}"
        write_key(key_path(keys, name, online=online), signer, None if online else passphrase)
    new = _next(old, expires_days=expires_days, now=now)
    # Added before the old ones go: a role may not fall below its threshold in between.
    for signer in fresh:
        new.signed.add_key(signer.public_key, role)
    for keyid in gone:
        new.signed.revoke_key(keyid, role)
    _sign(new, [*signers, *(fresh if role == Root.type else [])])
    if propose is not None:
        write_proposal(propose, new)
    else:
        _write(keys, old, new)
        retire(keys, gone, passphrase, online=online)
    return Rotation(role, new.signed.version, gone, [signer.public_key.keyid for signer in fresh])


def renew_root(
    keys: Path,
    *,
    expires_days: int,
    passphrase: bytes | None,
    now: datetime,
    more: Sequence[Path] = (),
    propose: Path | None = None,
) -> Metadata[Root]:
    """Write a root that says the same for longer; with `propose` into a file that waits for others' signatures.

    Raises:
        ConfigError: not enough root keys are here, or `expires_days` is not positive.
        StorageError: the disk is full, read-only or not permitted.
    """
    old = load_root(keys / ROOT_FILE)
    trusted = old.signed.roles[Root.type]
    find = find_signers if propose is None else find_cosigners
    signers = find(offline_places(keys, more), trusted=trusted, name="root", passphrase=passphrase)
    new = _next(old, expires_days=expires_days, now=now)
    _sign(new, signers)
    if propose is not None:
        write_proposal(propose, new)
    else:
        _write(keys, old, new)
    return new


def _next(old: Metadata[Root], *, expires_days: int, now: datetime) -> Metadata[Root]:
    if expires_days < 1:
        raise ConfigError(f"expected a validity of at least one day, got {expires_days}")
    # Read again: a copy would share the lists of keys with the old one.
    new = Metadata[Root].from_bytes(old.to_bytes())
    new.signatures.clear()
    new.signed.version = old.signed.version + 1
    new.signed.expires = expiry(now, timedelta(days=expires_days))
    return new


def _sign(metadata: Metadata[Root], signers: Iterable[CryptoSigner]) -> None:
    for signer in {signer.public_key.keyid: signer for signer in signers}.values():
        metadata.sign(signer, append=True)


def _write(keys: Path, old: Metadata[Root], new: Metadata[Root]) -> None:
    # A rotation that its own keys or devices would not accept must not be written.
    decode_root(new.to_bytes(), source=f"root version {new.signed.version}")
    write_root(keys, old)
    write_root(keys, new)


def _chosen(keyids: Sequence[str], only: Sequence[str], role: str) -> list[str]:
    if not only:
        return list(keyids)
    chosen = []
    for beginning in only:
        matching = [keyid for keyid in keyids if keyid.startswith(beginning)]
        if len(matching) != 1:
            raise ConfigError(
                f"{len(matching)} {role} keys begin with {beginning!r}, expected one; see: pocketrec keys status"
            )
        chosen += matching
    return chosen


def retire(keys: Path, gone: Iterable[str], passphrase: bytes | None, *, online: bool) -> None:
    """Move the private keys with the ids `gone` out of the way, where they can still sign once for old devices.

    Raises:
        StorageError: the disk is full, read-only or not permitted.
    """
    folder = keys / ("online" if online else "offline")
    retired = folder / RETIRED_FOLDER
    with disk_errors_named(retired):
        retired.mkdir(mode=0o700, exist_ok=True)
        for path in folder.glob("*.pem"):
            try:
                keyid = load_signer(path, passphrase=passphrase).public_key.keyid
            except ConfigError:
                # Another holder's key with another passphrase: it stays where it is, trusted or not.
                continue
            if keyid in gone:
                path.rename(retired / f"{path.stem}-{keyid[:8]}.pem")
