"""The keys that sign updates, and who holds which.

KEYS/offline/{root,targets}.pem         the builder's; they never touch the server
KEYS/offline/targets.json               the newest targets that these keys signed (publisher.py)
KEYS/online/{snapshot,timestamp}.pem    the server's
KEYS/root.json                          for the server and for every device
"""

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root
from tuf.api.serialization import DeserializationError

from edge_runtime.contract.atomic_files import disk_errors_named, sync_folder, write_bytes_atomically
from edge_runtime.contract.errors import ConfigError, SignatureError

OFFLINE_ROLES = ("root", "targets")
ONLINE_ROLES = ("snapshot", "timestamp")
PASSPHRASE_VARIABLE = "POCKETREC_KEY_PASSPHRASE_FILE"  # noqa: S105  (the name of a variable that names a file)
ROOT_FILE = "root.json"


def key_path(keys: Path, role: str) -> Path:
    """Return where the private key of `role` lies under a key folder."""
    return keys / ("online" if role in ONLINE_ROLES else "offline") / f"{role}.pem"


def read_passphrase(environment: Mapping[str, str]) -> bytes | None:
    """Return the passphrase of the offline keys from the file that the environment names; None when it names none.

    Raises:
        ConfigError: the file cannot be read or is empty.
    """
    name = environment.get(PASSPHRASE_VARIABLE)
    if not name:
        return None
    try:
        passphrase = Path(name).read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"{PASSPHRASE_VARIABLE}: cannot read {name} ({error.strerror})") from error
    if not passphrase:
        raise ConfigError(f"{PASSPHRASE_VARIABLE}: {name} is empty, expected a passphrase in it")
    return passphrase


def create_keys(keys: Path, *, expires_days: int, passphrase: bytes | None, now: datetime) -> Metadata[Root]:
    """Make a key per role and the root.json that names them; return the root.

    Stopped halfway, there is no root.json, and the call may be repeated after the folder was removed.

    Args:
        keys: a folder that does not exist yet or is empty.
        expires_days: how long root.json is valid.
        passphrase: encrypts the offline keys; None leaves them readable to their owner.
        now: the time from which the validity counts.

    Raises:
        ConfigError: the folder holds something, or `expires_days` is not positive.
        StorageError: the disk is full, read-only or not permitted.
    """
    if expires_days < 1:
        raise ConfigError(f"expected a validity of at least one day, got {expires_days}")
    if keys.exists() and (not keys.is_dir() or any(keys.iterdir())):
        raise ConfigError(f"{keys} is not empty; keys are never overwritten, choose another folder")
    root = Root(expires=expiry(now, timedelta(days=expires_days)), consistent_snapshot=True)
    signers = {role: CryptoSigner(Ed25519PrivateKey.generate()) for role in (*OFFLINE_ROLES, *ONLINE_ROLES)}
    for role, signer in signers.items():
        root.add_key(signer.public_key, role)
        _write_private(key_path(keys, role), _pem(signer, passphrase if role in OFFLINE_ROLES else None))
    metadata = Metadata(root)
    metadata.sign(signers["root"])
    write_bytes_atomically(keys / ROOT_FILE, metadata.to_bytes())
    return metadata


def expiry(now: datetime, lifetime: timedelta) -> datetime:
    """Return `now` plus `lifetime` in UTC and whole seconds, which is what TUF writes."""
    return (now.astimezone(UTC) + lifetime).replace(microsecond=0)


def _pem(signer: CryptoSigner, passphrase: bytes | None) -> bytes:
    key = load_pem_private_key(signer.private_bytes, None)
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def _write_private(path: Path, data: bytes) -> None:
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
        _write_private(destination, _read(source))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; make keys with: pocketrec keys init") from error


def load_signer(path: Path, *, passphrase: bytes | None = None) -> CryptoSigner:
    """Read a private key.

    Raises:
        ConfigError: the file cannot be read, is no ed25519 key, or needs another passphrase.
    """
    data = _read(path)
    encrypted = b"ENCRYPTED" in data
    if encrypted and passphrase is None:
        raise ConfigError(f"{path} is encrypted; name the file with its passphrase in {PASSPHRASE_VARIABLE}")
    try:
        key = load_pem_private_key(data, passphrase if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} is not a private key, or its passphrase is another one") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path} is not an ed25519 key; make keys with: pocketrec keys init")
    return CryptoSigner(key)


def load_root(path: Path) -> Metadata[Root]:
    """Read a root.json and check that it is signed by its own keys.

    Raises:
        ConfigError: the file cannot be read or is no root.json.
        SignatureError: its own signature does not hold.
    """
    try:
        metadata = Metadata[Root].from_bytes(_read(path))
    except DeserializationError as error:
        raise ConfigError(f"{path} is not a root.json; make keys with: pocketrec keys init") from error
    if metadata.signed.type != Root.type:
        raise ConfigError(f"{path} is {metadata.signed.type} metadata, expected root")
    try:
        metadata.signed.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
    except RepositoryError as error:
        raise SignatureError(f"{path} is not signed by its own keys; it was changed or cut") from error
    return metadata


def check_signer(root: Metadata[Root], role: str, signer: CryptoSigner) -> None:
    """Check that `root` trusts `signer` for `role`.

    Raises:
        ConfigError: it does not.
    """
    if signer.public_key.keyid not in root.signed.roles[role].keyids:
        raise ConfigError(f"the {role} key is not the one that root.json trusts; use the keys that were made together")
