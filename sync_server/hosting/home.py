"""The server's home: one folder with everything that it stores.

HOME/root.json                 the first trusted root; newer roots are in the repository
HOME/keys/{snapshot,timestamp}*.pem   the online keys; mode 0600
HOME/publisher.token           an API key of role publisher; mode 0600
HOME/session.key               signs the cookies of the console; mode 0600
HOME/server.sqlite             the database (database/tables/), unless database_url names PostgreSQL
HOME/least_version             after a restore: the version that timestamp and snapshot get at the next start
HOME/repository/               what devices download (repository/tuf_repository.py)
"""

import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from edge_runtime.contract.atomic_files import PRIVATE_MODE, disk_errors_named, write_bytes_atomically
from edge_runtime.contract.errors import ConfigError
from sync_server.config import DATABASE_FILE, ServerConfig
from sync_server.database.engine import migrate, open_database
from sync_server.operators.api_keys import ApiKeys
from sync_server.repository.file_store import FileStore
from sync_server.repository.keys import (
    ONLINE_ROLES,
    ROOT_FILE,
    copy_private,
    decode_root,
    find_signers,
    load_root,
    read_roots,
)
from sync_server.repository.object_store import SharedFileStore
from sync_server.repository.tuf_repository import Repository

TOKEN_FILE = "publisher.token"  # noqa: S105  (a file's name)
SESSION_KEY_FILE = "session.key"
LEAST_VERSION_FILE = "least_version"
_KEYS_FOLDER = "keys"


@dataclass(frozen=True)
class PreparedHome:
    """What a start found or made; `keys_note` says which keys of the named folder were not copied."""

    token_path: Path
    token_is_new: bool
    keys_note: str = ""


def prepare_home(config: ServerConfig, *, keys: Path | None) -> PreparedHome:
    """Make what is missing in the server's home, and update its database.

    Stopped halfway, the same call continues.

    Args:
        config: the settings; `config.home` is made when missing.
        keys: the folder that `pocketrec keys init` made, needed on the first start; only its online keys and root.json
            are read. Later starts compare it with the home and copy nothing.

    Raises:
        ConfigError: keys are missing or do not belong together.
        StorageError: the disk is full, read-only or not permitted.
    """
    home = config.home
    with disk_errors_named(home):
        home.mkdir(parents=True, exist_ok=True)
    if not (home / ROOT_FILE).exists():
        if keys is None:
            raise ConfigError(
                f"{home} has no keys yet; start it once with --keys and the folder of pocketrec keys init"
            )
        root = load_root(keys / ROOT_FILE)
        for role in ONLINE_ROLES:
            find_signers([keys / "online"], trusted=root.signed.roles[role], name=role)
        copy_online_keys(keys, home)
        _copy_roots(keys, home)
        write_bytes_atomically(home / ROOT_FILE, (keys / ROOT_FILE).read_bytes())
    repository = open_repository(config)
    keys_note = _not_taken(keys, repository, home) if keys is not None else ""
    _raise_versions(repository, home / LEAST_VERSION_FILE)
    token_path = home / TOKEN_FILE
    token_is_new = _make_secret(token_path)
    _make_secret(home / SESSION_KEY_FILE)
    _make_database_private(config)
    engine = open_database(config.database)
    try:
        migrate(engine)
        ApiKeys(engine, time.time).adopt_server_key(read_secret(token_path))
    finally:
        engine.dispose()
    return PreparedHome(token_path=token_path, token_is_new=token_is_new, keys_note=keys_note)


def _raise_versions(repository: Repository, path: Path) -> None:
    """Sign with the version that `pocketrec restore` wrote to `path`, once."""
    if not path.exists():
        return
    try:
        least = int(path.read_text(encoding="ascii"))
    except ValueError as error:
        raise ConfigError(
            f"{path} is damaged; write one number into it, above the version that devices have"
        ) from error
    repository.raise_versions(least)
    with disk_errors_named(path):
        path.unlink()


def _make_database_private(config: ServerConfig) -> None:
    """Make the SQLite file readable for the server alone; SQLite gives its log the same rights."""
    if isinstance(config.database, Path):
        with disk_errors_named(config.database):
            config.database.touch(mode=PRIVATE_MODE)
            for path in config.home.glob(f"{DATABASE_FILE}*"):
                path.chmod(PRIVATE_MODE)


def _not_taken(keys: Path, repository: Repository, home: Path) -> str:
    """Return a sentence when the folder of keys has newer keys than the home, else "".

    Raises:
        ConfigError: the keys are those of another fleet.
    """
    named, here = load_root(keys / ROOT_FILE), repository.root()
    trusted = load_root(home / ROOT_FILE)
    roots = [decode_root(data, source=f"a root in {keys}") for data in read_roots(keys)]
    if any(root.signed.version == trusted.signed.version and root.signed != trusted.signed for root in roots):
        raise ConfigError(f"{keys} has the keys of another fleet than {home}: start without --keys, or in a new home")
    if named.signed.version > here.signed.version:
        return (
            f"{keys} has root version {named.signed.version}, the server has {here.signed.version}: a start does not copy "
            "new keys; hand them over with: pocketrec keys push"
        )
    return ""


def read_secret(path: Path) -> str:
    """Return the secret that the first start wrote to `path`.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}; start the server there once: pocketrec serve --home") from error


def require_home(config: ServerConfig) -> None:
    """Check that a server was started in this home.

    Raises:
        ConfigError: it was not.
    """
    if not (config.home / ROOT_FILE).exists():
        raise ConfigError(
            f"{config.home} is not a server's home yet; start the server there first: pocketrec serve --home"
        )


def open_repository(config: ServerConfig, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Repository:
    """Open the repository of a prepared home.

    Raises:
        ConfigError: the home was never prepared, or its keys do not belong together.
        StorageError: the disk is full, read-only or not permitted.
    """
    home = config.home
    require_home(config)
    return Repository(
        home / "repository",
        root=load_root(home / ROOT_FILE),
        keys=home / _KEYS_FOLDER,
        timestamp_lifetime=timedelta(hours=config.timestamp_hours),
        snapshot_lifetime=timedelta(days=config.snapshot_days),
        clock=clock,
        files=_shared_files(config),
    )


def _shared_files(config: ServerConfig) -> FileStore | None:
    if not config.files_url:
        return None
    return SharedFileStore(
        config.home / "repository" / "files",
        url=config.files_url,
        endpoint_url=config.files_endpoint_url,
        max_file_bytes=config.max_file_bytes,
    )


def copy_online_keys(keys: Path, home: Path) -> None:
    """Copy the online keys of a key folder to a server's home; existing files are left alone.

    Raises:
        ConfigError: a key cannot be read.
        StorageError: the disk is full, read-only or not permitted.
    """
    for path in sorted((keys / "online").glob("*.pem")):
        copy_private(path, home / _KEYS_FOLDER / path.name)


def _copy_roots(keys: Path, home: Path) -> None:
    # Devices that were enrolled with an older root need every root up to the newest.
    folder = home / "repository" / "metadata"
    with disk_errors_named(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for data in read_roots(keys):
        version = decode_root(data, source=f"a root in {keys}").signed.version
        write_bytes_atomically(folder / f"{version}.root.json", data)


def _make_secret(path: Path) -> bool:
    if path.exists() and path.stat().st_size:
        return False
    with disk_errors_named(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
    return True
