"""Removes what a server no longer needs: files, metadata and rows of the past. The server may run meanwhile.

Nothing goes that a device, a backup or a publication on its way may need: what was current or uploaded within the last
`older_than_days` stays, so do all roots and the newest metadata of each role.
"""

import itertools
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import ColumnElement, Engine, delete, func, or_, select
from tuf.api.metadata import Metadata, Targets
from tuf.api.serialization import DeserializationError

from edge_runtime.contract.atomic_files import disk_errors_named
from edge_runtime.contract.errors import ConfigError, StorageError
from sync_server.config import ServerConfig
from sync_server.database.engine import open_database, read_session, write_session
from sync_server.database.tables.base import Base
from sync_server.database.tables.devices import EnrollmentCode, EnrollmentKey
from sync_server.database.tables.rollouts import GuardrailPoint, RolloutRow
from sync_server.hosting.home import open_repository, require_home
from sync_server.repository.metadata_store import publication_lock

# A release that several people sign may wait for the last of them: its files are uploaded, but not signed yet.
OLDER_THAN_DAYS = 30
_KEPT_VERSIONS = 3
_DAY_S = 86_400.0
_VERSIONED = re.compile(r"([0-9]+)\.((?!root)[a-z0-9-]+)\.json")


@dataclass(frozen=True)
class Garbage:
    """What was removed, or would be: files and metadata with their bytes, and rows of the database."""

    files: int
    file_bytes: int
    metadata: int
    metadata_bytes: int
    codes: int
    keys: int
    guardrail_points: int


def collect_garbage(
    config: ServerConfig, *, now_s: float, older_than_days: int = OLDER_THAN_DAYS, is_dry_run: bool = False
) -> Garbage:
    """Remove what is not needed any longer, or with `is_dry_run` only count it.

    These are files that no metadata names and metadata that was replaced, both since `older_than_days`; enrollment codes and
    keys that expired as long ago; and the guardrails' history of rollouts that ended `retention_days` ago. Objects in
    `files_url` stay, only their local copies go. Stopped halfway, the rest goes the next time.

    Raises:
        ConfigError: no server's home, or less than one day.
        StorageError: the repository is damaged, nothing was removed; or the disk or the database.
    """
    if older_than_days < 1:
        raise ConfigError(f"expected at least one day, got {older_than_days}: publications under way need their files")
    require_home(config)
    before_s, folder = now_s - older_than_days * _DAY_S, config.home / "repository"
    with publication_lock(folder), disk_errors_named(folder):
        metadata = _old_metadata(config, folder / "metadata", before_s)
        files = _unnamed_files(folder, set(metadata), before_s)
        # The metadata first: stopped in between, none that is left names a file that is gone.
        metadata_bytes = _remove(metadata, is_dry_run=is_dry_run)
        file_bytes = _remove(files, is_dry_run=is_dry_run)
    engine = open_database(config.database)
    try:
        codes = _remove_rows(engine, EnrollmentCode, EnrollmentCode.expires_at_s < before_s, is_dry_run=is_dry_run)
        void = or_(EnrollmentKey.expires_at_s < before_s, EnrollmentKey.revoked_at_s < before_s)
        keys = _remove_rows(engine, EnrollmentKey, void, is_dry_run=is_dry_run)
        ended = select(RolloutRow.rollout_id).where(RolloutRow.ended_at_s < now_s - config.retention_days * _DAY_S)
        points = _remove_rows(engine, GuardrailPoint, GuardrailPoint.rollout_id.in_(ended), is_dry_run=is_dry_run)
    finally:
        engine.dispose()
    return Garbage(
        files=len(files),
        file_bytes=file_bytes,
        metadata=len(metadata),
        metadata_bytes=metadata_bytes,
        codes=codes,
        keys=keys,
        guardrail_points=points,
    )


def _old_metadata(config: ServerConfig, folder: Path, before_s: float) -> list[Path]:
    """Return the metadata that was replaced before `before_s` and is not among the newest of its role."""
    by_role: dict[str, dict[int, Path]] = defaultdict(dict)
    for path in folder.iterdir():
        if match := _VERSIONED.fullmatch(path.name):
            by_role[match[2]][int(match[1])] = path
    current = _current(config)
    old = []
    for role, versions in by_role.items():
        numbers = sorted(versions)
        for number, following in itertools.pairwise(numbers):
            replaced_s = versions[following].stat().st_mtime
            if number not in numbers[-_KEPT_VERSIONS:] and (role, number) not in current and replaced_s < before_s:
                old.append(versions[number])
    return old


def _current(config: ServerConfig) -> set[tuple[str, int]]:
    return {(status.role, status.version) for status in open_repository(config).trust_status()}


def _unnamed_files(repository: Path, removed: set[Path], before_s: float) -> list[Path]:
    """Return the files that no metadata names, without what is `removed`, and that are older than `before_s`."""
    named: set[str] = set()
    for path in (repository / "metadata").iterdir():
        match = _VERSIONED.fullmatch(path.name)
        if match and match[2] != "snapshot" and path not in removed:
            named |= _named(path)
    files = (path for path in (repository / "files").rglob("*") if path.is_file())
    return [path for path in files if path.name not in named and path.stat().st_mtime < before_s]


def _named(path: Path) -> set[str]:
    try:
        signed = Metadata[Targets].from_bytes(path.read_bytes()).signed
    except DeserializationError as error:
        raise StorageError(f"{path} is damaged; nothing was removed: restore the home from a backup") from error
    return {target.hashes.get("sha256", "") for target in signed.targets.values()}


def _remove(paths: list[Path], *, is_dry_run: bool) -> int:
    size = 0
    for path in paths:
        size += path.stat().st_size
        if not is_dry_run:
            path.unlink()
    return size


def _remove_rows(engine: Engine, table: type[Base], which: ColumnElement[bool], *, is_dry_run: bool) -> int:
    if is_dry_run:
        with read_session(engine) as session:
            return session.scalar(select(func.count()).select_from(table).where(which)) or 0
    with write_session(engine) as session:
        return len(session.execute(delete(table).where(which).returning(*table.__table__.primary_key)).all())
