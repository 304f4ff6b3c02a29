"""Backup of everything that a server stores, while it runs, and restore. Keys and secrets are left out.

A backup is a folder:

    backup.json                  version, time, kind of database, SHA-256 of every file
    server.sqlite | database.dump    the database: SQLite's online copy, or pg_dump's custom format
    repository/...                   what devices download
"""

import hashlib
import math
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from sqlalchemy import make_url
from tuf.api.metadata import Metadata, Timestamp
from tuf.api.serialization import DeserializationError

from edge_runtime.contract.atomic_files import PRIVATE_MODE, disk_errors_named, write_bytes_atomically
from edge_runtime.contract.errors import ConfigError, DigestMismatchError, StorageError
from sync_server.config import DATABASE_FILE, ServerConfig
from sync_server.database.engine import migrate, open_database
from sync_server.events.data_requests import repeat_erasures
from sync_server.hosting.home import LEAST_VERSION_FILE
from sync_server.operators.audit_log import AuditEntry
from sync_server.repository.metadata_store import publication_lock

NOTE_FILE, DUMP_FILE, REPOSITORY = "backup.json", "database.dump", "repository"
_PARTIAL = ".partial"


class BackupNote(msgspec.Struct, frozen=True):
    """The description of a backup; `files` maps a path in the backup to its SHA-256."""

    version: int
    created_at: str
    database: str
    files: dict[str, str]


@dataclass(frozen=True)
class BackupReport:
    """How many files and bytes were written or read."""

    files: int
    bytes: int


@dataclass(frozen=True)
class Restored(BackupReport):
    """What was restored: a backup of `made_at`, whose timestamp gets `timestamp_version` (None: nothing was published)."""

    made_at: str
    timestamp_version: int | None


def back_up(
    config: ServerConfig, folder: Path, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> BackupReport:
    """Write a backup into the new folder `folder`; the server may run meanwhile.

    The database is copied first, so every file that it names is in the repository that is copied after it. Stopped
    halfway, only a folder with the suffix .partial exists.

    Raises:
        ConfigError: `folder` exists, `home` is no server's, or PostgreSQL's client programs are not installed.
        StorageError: the disk or the database.
    """
    if folder.exists():
        raise ConfigError(f"{folder} exists; name a new folder for the backup")
    if not (config.home / REPOSITORY).is_dir():
        raise ConfigError(f"{config.home} is not a server's home; name it by --home")
    partial = folder.with_name(folder.name + _PARTIAL)
    begun = clock()
    with disk_errors_named(partial):
        shutil.rmtree(partial, ignore_errors=True)
        # Nobody else gets into the folder, whatever the rights of its files.
        partial.mkdir(parents=True, mode=0o700)
        if config.database_url:
            (partial / DUMP_FILE).touch(mode=PRIVATE_MODE)
            _dump_postgresql(config.database_url, partial / DUMP_FILE)
        else:
            (partial / DATABASE_FILE).touch(mode=PRIVATE_MODE)
            _copy_sqlite(config.home / DATABASE_FILE, partial / DATABASE_FILE)
        # Locked, so that the timestamp names a snapshot that is in the backup. The files that the metadata names exist by
        # then, and no file is ever changed: publishing need not wait for their copies.
        with publication_lock(config.home / REPOSITORY):
            _copy_folder(config.home / REPOSITORY / "metadata", partial / REPOSITORY / "metadata")
        _copy_folder(config.home / REPOSITORY / "files", partial / REPOSITORY / "files")
    digests = {path.relative_to(partial).as_posix(): _sha256(path) for path in _files(partial)}
    note = BackupNote(
        version=1,
        created_at=begun.isoformat(timespec="seconds"),
        database="postgresql" if config.database_url else "sqlite",
        files=digests,
    )
    write_bytes_atomically(partial / NOTE_FILE, msgspec.json.format(msgspec.json.encode(note)))
    with disk_errors_named(folder):
        partial.replace(folder)
    return BackupReport(files=len(digests), bytes=sum(path.stat().st_size for path in _files(folder)))


def restore(
    config: ServerConfig,
    folder: Path,
    *,
    erasures: Iterable[AuditEntry] = (),
    least_version: int | None = None,
    clock_s: Callable[[], float] = time.time,
) -> Restored:
    """Restore a backup into an empty home and an empty database. Start the server with --keys afterwards.

    Devices refuse metadata that is older than what they have seen, so the first start signs snapshot and timestamp with a
    version above every one that they can have. The database is restored last. Stopped halfway, empty the home and the database, and restore again.

    Args:
        config: the settings of the new server.
        folder: the backup.
        erasures: an audit log, whose erasures since the backup are repeated.
        least_version: the version of the timestamp from then on; by default above one for each second since the backup.
        clock_s: gives seconds since 1970.

    Raises:
        ConfigError: the folder is not a backup, it is of the other kind of database, or the home is not empty.
        DigestMismatchError: a file of the backup is damaged; nothing was restored.
        StorageError: the disk or the database.
    """
    note = _checked_note(folder)
    wanted = "postgresql" if config.database_url else "sqlite"
    if note.database != wanted:
        raise ConfigError(f"{folder} holds a {note.database} database, the settings name {wanted}; change database_url")
    if config.home.exists() and any(config.home.iterdir()):
        raise ConfigError(f"{config.home} is not empty; restore into a new home")
    with disk_errors_named(config.home):
        config.home.mkdir(parents=True, exist_ok=True)
        if (folder / REPOSITORY).is_dir():
            shutil.copytree(folder / REPOSITORY, config.home / REPOSITORY)
        if config.database_url:
            _restore_postgresql(config.database_url, folder / DUMP_FILE)
        else:
            (config.home / DATABASE_FILE).touch(mode=PRIVATE_MODE)
            shutil.copyfile(folder / DATABASE_FILE, config.home / DATABASE_FILE)
    _repeat(config, erasures, note, now_s=clock_s())
    raised = _outrun(config, note, least_version, now_s=clock_s())
    size = sum(path.stat().st_size for path in _files(folder))
    return Restored(files=len(note.files), bytes=size, made_at=note.created_at, timestamp_version=raised)


def _copy_folder(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(".tmp-*"))


def _outrun(config: ServerConfig, note: BackupNote, least: int | None, *, now_s: float) -> int | None:
    """Let the first start raise the metadata's versions above every version that devices can have seen.

    Each publication and each renewal raises the version by one, and there was less than one a second since the backup.
    """
    path = config.home / REPOSITORY / "metadata" / "timestamp.json"
    if not path.exists():
        return None
    try:
        version = Metadata[Timestamp].from_bytes(path.read_bytes()).signed.version
    except (OSError, DeserializationError) as error:
        raise StorageError(f"the backup's timestamp.json cannot be read ({error}); use another backup") from error
    passed_s = math.ceil(now_s - datetime.fromisoformat(note.created_at).timestamp())
    raised = version + max(1, passed_s) if least is None else least
    write_bytes_atomically(config.home / LEAST_VERSION_FILE, f"{raised}\n".encode())
    return raised


def _repeat(config: ServerConfig, erasures: Iterable[AuditEntry], note: BackupNote, *, now_s: float) -> None:
    entries = list(erasures)
    if not entries:
        return
    engine = open_database(config.database)
    try:
        migrate(engine)
        repeat_erasures(engine, entries, since=datetime.fromisoformat(note.created_at), now_s=now_s)
    finally:
        engine.dispose()


def _checked_note(folder: Path) -> BackupNote:
    try:
        note = msgspec.json.decode((folder / NOTE_FILE).read_bytes(), type=BackupNote)
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(f"{folder} is not a backup: {NOTE_FILE} cannot be read") from error
    if note.version != 1:
        raise ConfigError(f"{folder} has version {note.version}, this server reads 1; update it")
    found = {path.relative_to(folder).as_posix() for path in _files(folder)} - {NOTE_FILE}
    if odd := sorted(found ^ set(note.files)):
        raise DigestMismatchError(f"{folder}: {odd[0]} is missing or does not belong there; nothing was restored")
    for name, sha256 in note.files.items():
        if _sha256(folder / name) != sha256:
            raise DigestMismatchError(f"{folder / name} is damaged; nothing was restored")
    return note


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _sha256(path: Path) -> str:
    with disk_errors_named(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy_sqlite(source: Path, target: Path) -> None:
    try:
        origin = sqlite3.connect(f"file:{source}?mode=ro", uri=True)
        copy = sqlite3.connect(target)
        try:
            origin.backup(copy)
        finally:
            copy.close()
            origin.close()
    except sqlite3.Error as error:
        raise StorageError(f"cannot copy {source}: {error}; is this the home of a server?") from error


def _dump_postgresql(url: str, target: Path) -> None:
    _run_client("pg_dump", url, ["--format=custom", "--no-owner", "--no-privileges", f"--file={target}"])


def _restore_postgresql(url: str, source: Path) -> None:
    options = ["--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error"]
    database = make_url(url).database or ""
    _run_client("pg_restore", url, [*options, f"--dbname={database}", str(source)])


def _run_client(program: str, url: str, options: list[str]) -> None:
    """Run a client program of PostgreSQL. The connection is in its environment: other users can read the arguments."""
    found = shutil.which(program)
    if found is None:
        raise ConfigError(f"{program} is not installed; install it with: sudo apt-get install postgresql-client")
    parts = make_url(url)
    known = {
        "PGHOST": parts.host or parts.query.get("host"),
        "PGPORT": str(parts.port) if parts.port else parts.query.get("port"),
        "PGUSER": parts.username,
        "PGPASSWORD": parts.password,
        "PGDATABASE": parts.database,
        "PGSSLMODE": parts.query.get("sslmode"),
    }
    environment = {**os.environ, **{name: str(value) for name, value in known.items() if value}}
    done = subprocess.run([found, *options], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip().split("\n", 1)[0]
        raise StorageError(f"{program} failed: {reason}")
