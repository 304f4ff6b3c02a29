"""Installed bundles of a device: their folders, which one is active, and the atomic switch between them.

    HOME/slots/<name>/        a bundle; `name` is the start of its bundle id
    HOME/slots/<name>.json    metadata of its release (Installed)
    HOME/slots/.staging/      the next bundle while it is incomplete; never opened by an application
    HOME/partial/<sha256>     interrupted downloads
    HOME/current, previous    symbolic links into slots/

The switch is one `rename` of a symbolic link. Stopped anywhere, `current` points at a complete bundle that has
passed its self-test: the old one or the new one.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from edge_runtime.contract.atomic_files import (
    TEMPORARY_PREFIX,
    disk_errors_named,
    read_json,
    sync_folder,
    write_json_atomically,
)
from edge_runtime.contract.bundle import MANIFEST_FILE, Artifact, decode_manifest
from edge_runtime.contract.errors import BundleError, UpdateError
from edge_runtime.contract.events import is_name

_NAME_CHARS = 24  # 96 bits of the bundle id: never the same twice, and short enough for every file system
_LEFT_OVER_AFTER_S = 86_400.0  # no process writes one file for so long

SwitchMark = tuple[int, int]
"""Inode and time of the link `current`: another one after each switch, whichever process made it."""


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """What a device remembers of a bundle that it installed; `reason` and `variant` name the rollout or experiment."""

    bundle_id: str
    channel: str
    release: int
    installed_at: str
    reason: str | None = None
    variant: str | None = msgspec.field(default=None, name="arm")


class Slots:
    """The bundles under a device's home folder."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._slots = home / "slots"
        self.staging = self._slots / ".staging"
        self.partial = home / "partial"
        self.current_link = home / "current"
        self.previous_link = home / "previous"

    def create(self) -> None:
        """Make the folders that are missing.

        Raises:
            StorageError: the disk is full, read-only or not permitted.
        """
        with disk_errors_named(self._home):
            self._slots.mkdir(parents=True, exist_ok=True)
            self.partial.mkdir(exist_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the right to change the slots; it ends with the process, however that ends.

        Raises:
            UpdateError: another process holds it.
        """
        self.create()
        with disk_errors_named(self._home), (self._home / "lock").open("wb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UpdateError(f"another process is updating {self._home}; wait until it has finished") from error
            yield

    @property
    def current(self) -> Path | None:
        """The folder of the bundle that answers, or None before the first installation.

        When the link is lost, it is the bundle that was installed last, other than the previous one.
        """
        return self._target(self.current_link) or self._newest()

    def _newest(self) -> Path | None:
        previous = self.previous_folder
        dated: list[tuple[str, Path]] = []
        for folder in self._slots.glob("*"):
            installed = _read_installed(folder) if folder.is_dir() and folder != previous else None
            if installed is not None:
                dated.append((installed.installed_at, folder))
        return max(dated)[1] if dated else previous

    def mend_link(self) -> None:
        """Let the link `current` point at the bundle that answers, if it was lost; the caller holds `locked`.

        Raises:
            StorageError: the disk is full, read-only or not permitted.
        """
        folder = self.current
        if folder is not None and self._target(self.current_link) is None:
            with disk_errors_named(self._home):
                self._point(self.current_link, folder)

    @property
    def switch_mark(self) -> SwitchMark | None:
        """What changes with every switch, by one system call; None when the link is missing."""
        try:
            status = os.lstat(self.current_link)
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns

    @property
    def installed(self) -> Installed | None:
        """Metadata of the active bundle."""
        return _read_installed(self.current)

    @property
    def previous(self) -> Installed | None:
        """Metadata of the previous bundle, to which `roll_back` returns."""
        return _read_installed(self.previous_folder)

    @property
    def previous_folder(self) -> Path | None:
        """The folder of the previous bundle, or None when there is none."""
        return self._target(self.previous_link)

    def _target(self, link: Path) -> Path | None:
        try:
            folder = self._slots / link.readlink().name
        except OSError:
            return None
        return folder if folder.is_dir() else None

    def start_staging(self) -> None:
        """Empty the staging folder.

        Raises:
            StorageError: the disk is full, read-only or not permitted.
        """
        with disk_errors_named(self.staging):
            self.clear_staging()
            self.staging.mkdir()

    def clear_staging(self) -> None:
        """Remove what an unfinished update left."""
        shutil.rmtree(self.staging, ignore_errors=True)

    def files_by_digest(self) -> dict[str, Path]:
        """Return every file of the installed bundles by the SHA-256 that its manifest gives (not yet checked)."""
        found: dict[str, Path] = {}
        for folder in sorted(self._slots.iterdir()):
            if folder == self.staging or not folder.is_dir():
                continue
            for artifact in _artifacts(folder):
                found.setdefault(artifact.sha256, folder / artifact.path)
        return found

    def adopt_staging(self, installed: Installed) -> Path:
        """Make the staged bundle the one that answers; return its folder.

        The caller has verified and self-tested it. Stopped halfway, the old bundle answers.

        Raises:
            StorageError: the disk is full, read-only or not permitted; the old bundle answers.
        """
        folder = self._slots / installed.bundle_id[:_NAME_CHARS]
        if folder == self.current:
            # A damaged bundle is being mended: it stays where it is until its replacement answers.
            folder = folder.with_name(f"{folder.name}-again")
        with disk_errors_named(folder):
            shutil.rmtree(folder, ignore_errors=True)
            sync_folder(self.staging)
            self.staging.rename(folder)
            write_json_atomically(_record_of(folder), installed)
            old = self.current
            if old is not None:
                self._point(self.previous_link, old)
            self._point(self.current_link, folder)
        return folder

    def note_again(self, installed: Installed) -> None:
        """Remember other circumstances of the bundle that answers.

        Raises:
            StorageError: the disk is full, read-only or not permitted.
        """
        folder = self.current
        if folder is not None:
            write_json_atomically(_record_of(folder), installed)

    def roll_back(self) -> Installed:
        """Let the previous bundle answer again.

        Raises:
            UpdateError: there is no previous bundle.
        """
        folder, previous = self.previous_folder, self.previous
        if folder is None or previous is None:
            raise UpdateError("there is no previous bundle to go back to; the current one goes on answering")
        bad = self.current
        with disk_errors_named(self._home):
            self._point(self.current_link, folder)
            if bad is not None and bad != folder:
                self._point(self.previous_link, bad)
        return previous

    def _point(self, link: Path, folder: Path) -> None:
        temporary = link.with_name(f".{link.name}.new")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(Path("slots") / folder.name)
        temporary.replace(link)
        sync_folder(self._home)

    def remove_left_over(self, now_s: float) -> None:
        """Remove files that processes left half-written when they were killed, a day ago or longer."""
        for folder in (self._home, self._slots):
            for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
                with contextlib.suppress(OSError):
                    if now_s - path.stat().st_mtime > _LEFT_OVER_AFTER_S:
                        path.unlink()

    def remove_unused(self) -> None:
        """Remove staging, broken-off downloads and every bundle but the current and the previous one."""
        keep = {self.current, self.previous_folder}
        for path in self._slots.iterdir():
            if path.is_dir() and path not in keep:
                shutil.rmtree(path, ignore_errors=True)
                _record_of(path).unlink(missing_ok=True)
        for path in self.partial.iterdir():
            path.unlink(missing_ok=True)


def _record_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.json")


def _read_installed(folder: Path | None) -> Installed | None:
    found = None if folder is None else read_json(_record_of(folder), Installed)
    if found is None or all(name is None or is_name(name) for name in (found.reason, found.variant)):
        return found
    # An older version kept any name that a server gave, with which no event and no report can be made.
    return msgspec.structs.replace(found, reason=None, variant=None)


def _artifacts(folder: Path) -> list[Artifact]:
    try:
        manifest = decode_manifest((folder / MANIFEST_FILE).read_bytes(), source=str(folder / MANIFEST_FILE))
    except (OSError, BundleError):
        return []
    return manifest.artifacts
