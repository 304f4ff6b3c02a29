"""Roots, and the keys with which the server signs: snapshot and timestamp.

The server has KEYS/online/*.pem and the roots. The builder makes keys and does all that needs an offline key
(pocketrec/publishing/key_files.py). root.json decides which key belongs to a role, not the name of the file.
"""

import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Role, Root
from tuf.api.serialization import DeserializationError

from edge_runtime.contract.atomic_files import disk_errors_named, sync_folder
from edge_runtime.contract.errors import ConfigError, SignatureError

ONLINE_ROLES = ("snapshot", "timestamp")
PASSPHRASE_VARIABLE = "POCKETREC_KEY_PASSPHRASE_FILE"  # noqa: S105  (the name of a variable that names a file)
ROOT_FILE = "root.json"
ROOTS_FOLDER = "roots"


def read_roots(keys: Path) -> list[bytes]:
    """Return every root of a key folder, oldest first; folders of old versions have only the newest.

    Raises:
        ConfigError, SignatureError: a file is not a root.
    """
    newest = load_root(keys / ROOT_FILE)
    paths = [keys / ROOTS_FOLDER / f"{number}.root.json" for number in range(1, newest.signed.version)]
    return [read_key_file(path) for path in paths if path.exists()] + [read_key_file(keys / ROOT_FILE)]


def expiry(now: datetime, lifetime: timedelta) -> datetime:
    """Return `now` plus `lifetime` in UTC and whole seconds, as TUF writes it."""
    return (now.astimezone(UTC) + lifetime).replace(microsecond=0)


def write_private(path: Path, data: bytes) -> None:
    """Write a new file, readable to its owner only; an existing file is never overwritten.

    Raises:
        StorageError: the file exists, or the disk is full, read-only or not permitted.
    """
    with disk_errors_named(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(path.parent)


def copy_private(source: Path, destination: Path) -> None:
    """Copy a private key, readable to its owner only; an existing destination is left alone.

    Raises:
        ConfigError: the source cannot be read.
        StorageError: the disk is full, read-only or not permitted.
    """
    if not destination.exists():
        write_private(destination, read_key_file(source))


def read_key_file(path: Path) -> bytes:
    """Return the content of a file of a key folder.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; make keys with: pocketrec keys init") from error


def load_signer(path: Path, *, passphrase: bytes | None = None) -> CryptoSigner:
    """Read a private key.

    Raises:
        ConfigError: the file cannot be read, is no ed25519 key, or needs another passphrase.
    """
    data = read_key_file(path)
    encrypted = b"ENCRYPTED" in data
    if encrypted and passphrase is None:
        raise ConfigError(f"{path} is encrypted; name the file with its passphrase in {PASSPHRASE_VARIABLE}")
    try:
        key = load_pem_private_key(data, passphrase if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} is not a private key, or the passphrase is wrong") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path} is not an ed25519 key; make keys with: pocketrec keys init")
    return CryptoSigner(key)


def find_signers(
    places: Iterable[Path], *, trusted: Role, name: str, passphrase: bytes | None = None, needed: int | None = None
) -> list[CryptoSigner]:
    """Return the private keys among `places` that a role trusts.

    Args:
        places: files of private keys, and folders in which every *.pem is looked at.
        trusted: the role.
        name: of the role, for the error.
        passphrase: of those that are encrypted.
        needed: how many there must be; the role's threshold by default.

    Raises:
        ConfigError: there are too few, or one that would be needed cannot be read.
    """
    found: dict[str, CryptoSigner] = {}
    unreadable: list[ConfigError] = []
    wanted = trusted.threshold if needed is None else needed
    for path in key_files(places):
        try:
            signer = load_signer(path, passphrase=passphrase)
        except ConfigError as error:
            unreadable.append(error)
            continue
        if signer.public_key.keyid in trusted.keyids:
            found[signer.public_key.keyid] = signer
    if len(found) < wanted and unreadable:
        raise unreadable[0]
    if len(found) < wanted:
        raise ConfigError(
            f"{wanted} of the {len(trusted.keyids)} {name} keys that root.json trusts are needed, {len(found)} are here; "
            "name the files of the others by --key, or use the keys that were made together"
        )
    return list(found.values())


def key_files(places: Iterable[Path]) -> list[Path]:
    """Return the files that `places` are or, where one is a folder, every *.pem in it."""
    files: list[Path] = []
    for place in places:
        files += sorted(place.glob("*.pem")) if place.is_dir() else [place]
    return files


def load_root(path: Path) -> Metadata[Root]:
    """Read a root.json and check that it is signed by its own keys.

    Raises:
        ConfigError: the file cannot be read or is no root.json.
        SignatureError: it is not signed by its own keys.
    """
    return decode_root(read_key_file(path), source=str(path))


def decode_root(data: bytes, *, source: str) -> Metadata[Root]:
    """Read the bytes of a root.json and check that it is signed by its own keys.

    Raises:
        ConfigError: the bytes are not a root.json.
        SignatureError: it is not signed by its own keys.
    """
    try:
        metadata = Metadata[Root].from_bytes(data)
    except DeserializationError as error:
        raise ConfigError(f"{source} is not a root.json; make keys with: pocketrec keys init") from error
    if metadata.signed.type != Root.type:
        raise ConfigError(f"{source} is {metadata.signed.type} metadata, expected root")
    try:
        metadata.signed.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
    except RepositoryError as error:
        raise SignatureError(f"{source} is not signed by its own keys; it was changed or cut") from error
    return metadata


def check_successor(old: Metadata[Root], new: Metadata[Root]) -> None:
    """Check that devices that trust `old` will follow to `new`, which is signed by its own keys.

    Raises:
        SignatureError: the version is not the next one, or not enough keys of `old` signed it.
    """
    if new.signed.version != old.signed.version + 1:
        raise SignatureError(
            f"root version {new.signed.version} cannot follow version {old.signed.version}: every version must be there"
        )
    try:
        old.signed.verify_delegate(Root.type, new.signed_bytes, new.signatures)
    except RepositoryError as error:
        raise SignatureError(
            f"root version {new.signed.version} is not signed by the keys of version {old.signed.version}"
        ) from error
