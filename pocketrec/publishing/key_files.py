"""The publisher's key folder: makes keys, and finds which keys are in it.

KEYS/offline/{root,targets}*.pem        the publisher's; they never get to the server
KEYS/offline/channel-<name>*.pem        in the folder of a team that publishes to one channel only (delegations.py)
KEYS/offline/targets.json               the newest targets that these keys signed (publisher.py)
KEYS/offline/retired/                   keys that were rotated out (key_rotation.py)
KEYS/online/{snapshot,timestamp}*.pem   the server's
KEYS/roots/<n>.root.json                every root so far; each is signed by the one before it
KEYS/root.json                          the newest root, for the server and for every device
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, Key, SSlibKey
from tuf.api.metadata import Metadata, Role, Root

from edge_runtime.contract.atomic_files import disk_errors_named, write_bytes_atomically
from edge_runtime.contract.errors import ConfigError
from sync_server.repository.keys import (
    ONLINE_ROLES,
    PASSPHRASE_VARIABLE,
    ROOT_FILE,
    ROOTS_FOLDER,
    expiry,
    find_signers,
    key_files,
    load_root,
    load_signer,
    read_key_file,
    write_private,
)

OFFLINE_ROLES = ("root", "targets")
RETIRED_FOLDER = "retired"
REMEMBERED_TARGETS = Path("offline") / "targets.json"


@dataclass(frozen=True)
class KeyCounts:
    """How many keys a role has, and how many of them must sign.

    Raises:
        ConfigError: more must sign than there are, or fewer than one.
    """

    keys: int = 1
    threshold: int = 1

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not 1 <= self.threshold <= self.keys <= 20:
            raise ConfigError(f"expected a threshold from 1 to the number of keys, got {self.threshold} of {self.keys}")


def key_path(keys: Path, name: str, *, online: bool | None = None) -> Path:
    """Return where the private key called `name` (that of a role alone is called like the role) lies in a key folder."""
    is_online = name in ONLINE_ROLES if online is None else online
    return keys / ("online" if is_online else "offline") / f"{name}.pem"


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


def create_keys(
    keys: Path,
    *,
    expires_days: int,
    passphrase: bytes | None,
    now: datetime,
    root_keys: KeyCounts = KeyCounts(),
    targets_keys: KeyCounts = KeyCounts(),
) -> Metadata[Root]:
    """Make the keys of every role and the root.json that names them; return the root.

    Stopped halfway, there is no root.json, and the call may be repeated after the folder was removed.

    Args:
        keys: a folder that does not exist yet or is empty.
        expires_days: how long root.json is valid.
        passphrase: encrypts the offline keys; None leaves them readable to their owner.
        now: the time from which the validity counts.
        root_keys: how many root keys there are, and how many must sign a new root.
        targets_keys: how many targets keys there are, and how many must sign a release.

    Raises:
        ConfigError: the folder holds something, or `expires_days` is not positive.
        StorageError: the disk is full, read-only or not permitted.
    """
    if expires_days < 1:
        raise ConfigError(f"expected a validity of at least one day, got {expires_days}")
    if keys.exists() and (not keys.is_dir() or any(keys.iterdir())):
        raise ConfigError(f"{keys} is not empty; keys are never overwritten, choose another folder")
    root = Root(expires=expiry(now, timedelta(days=expires_days)), consistent_snapshot=True)
    counts = {"root": root_keys, "targets": targets_keys}
    signers: list[CryptoSigner] = []
    for role in (*OFFLINE_ROLES, *ONLINE_ROLES):
        for number in range(counts.get(role, KeyCounts()).keys):
            signer = CryptoSigner(Ed25519PrivateKey.generate())
            root.add_key(signer.public_key, role)
            path = key_path(keys, role if number == 0 else f"{role}-{number + 1}", online=role in ONLINE_ROLES)
            write_key(path, signer, passphrase if role in OFFLINE_ROLES else None)
            signers += [signer] if role == Root.type else []
        root.roles[role].threshold = counts.get(role, KeyCounts()).threshold
    metadata = Metadata(root)
    for signer in signers:
        metadata.sign(signer, append=True)
    write_root(keys, metadata)
    return metadata


def write_root(keys: Path, metadata: Metadata[Root]) -> None:
    """Write a root beside those before it, then as the newest.

    Stopped halfway, the old root.json is there.

    Raises:
        StorageError: the disk is full, read-only or not permitted.
    """
    data = metadata.to_bytes()
    folder = keys / ROOTS_FOLDER
    with disk_errors_named(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_bytes_atomically(folder / f"{metadata.signed.version}.root.json", data)
    write_bytes_atomically(keys / ROOT_FILE, data)


def write_key(path: Path, signer: CryptoSigner, passphrase: bytes | None) -> None:
    """Write a new private key, readable to its owner only; an existing file is never overwritten.

    Raises:
        StorageError: the file exists, or the disk is full, read-only or not permitted.
    """
    write_private(path, _pem(signer, passphrase))


def _pem(signer: CryptoSigner, passphrase: bytes | None) -> bytes:
    key = load_pem_private_key(signer.private_bytes, None)
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def find_cosigners(
    places: Iterable[Path], *, trusted: Role, name: str, passphrase: bytes | None = None
) -> list[CryptoSigner]:
    """Return the private keys among `places` that a role trusts, where the keys of others may be missing.

    Raises:
        ConfigError: there is none, and one that may be the one cannot be read.
    """
    places = list(places)
    found = find_signers(places, trusted=trusted, name=name, passphrase=passphrase, needed=0)
    if not found:
        for path in key_files(places):
            load_signer(path, passphrase=passphrase)
    return found


def offline_places(keys: Path, more: Sequence[Path] = ()) -> list[Path]:
    """Return where the offline keys of a key folder lie, and `more` files of keys that others hold."""
    return [*more, keys / "offline"]


def create_team_key(folder: Path, role: str, *, root: Path, passphrase: bytes | None) -> Path:
    """Make a key for the role of a delegated channel, and return the file with its public half.

    Args:
        folder: the team's folder of keys; made when missing.
        role: of the channel.
        root: the fleet's root.json, copied into the folder.
        passphrase: encrypts the private key; None leaves it readable to its owner.

    Raises:
        ConfigError: there is a key of this role already, or `root` cannot be read.
        StorageError: the disk is full, read-only or not permitted.
    """
    if any((folder / "offline").glob(f"{role}*.pem")):
        raise ConfigError(f"{folder} has a key for {role} already; keys are never overwritten")
    metadata = load_root(root)
    signer = CryptoSigner(Ed25519PrivateKey.generate())
    write_key(key_path(folder, role), signer, passphrase)
    write_root(folder, metadata)
    public = load_pem_private_key(signer.private_bytes, None).public_key()
    path = folder / f"{role}.public.pem"
    write_bytes_atomically(path, public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


def load_public_key(path: Path) -> Key:
    """Read a public key that `create_team_key` wrote.

    Raises:
        ConfigError: the file cannot be read or holds something else.
    """
    try:
        key = load_pem_public_key(read_key_file(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} is not a public key; a team makes one with: pocketrec keys team") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"{path} is not an ed25519 key; a team makes one with: pocketrec keys team")
    return SSlibKey.from_crypto(key)
