"""Bringing a device to its channel's release: check, download, verify, prove, switch.

Trust is python-tuf's (`trust.py`), bytes come by `downloads.py`, the switch is in `slots.py`; here is their order.
"""

import contextlib
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from tuf.api.metadata import TargetFile

from edge_runtime.contract.atomic_files import disk_errors_named, write_bytes_atomically
from edge_runtime.contract.bundle import (
    MANIFEST_FILE,
    MAX_MANIFEST_BYTES,
    Artifact,
    Manifest,
    check_artifact,
    decode_manifest,
    open_bundle,
)
from edge_runtime.contract.errors import BundleError, InferenceError, RollbackError, SignatureError, UpdateError
from edge_runtime.contract.release import ReleaseNote, file_target, manifest_target
from edge_runtime.downloads import Downloads
from edge_runtime.http_fetcher import Transport
from edge_runtime.slots import Installed, Slots
from edge_runtime.trust import TrustedTargets

_LOG = logging.getLogger(__name__)
_REMEMBERED_REFUSALS = 10

Prove = Callable[[Path], None]
"""Opens the bundle in a folder and checks its golden answers on this device; raises a PocketrecError when they differ."""


@dataclass(frozen=True)
class UpdatePlan:
    """Where each file of the next bundle comes from: a file that is here already, or the server."""

    reuse: list[tuple[Artifact, Path]]
    download: list[Artifact]


@dataclass(frozen=True)
class UpdateReport:
    """What one update did; `from_bundle_id == to_bundle_id` and no bytes when there was nothing new."""

    from_bundle_id: str | None
    to_bundle_id: str
    release: int
    bytes_downloaded: int
    files_downloaded: int
    files_reused: int


@dataclass(frozen=True)
class _Staged:
    bytes_downloaded: int
    files_downloaded: int
    files_reused: int


def plan_update(manifest: Manifest, available: Mapping[str, Path]) -> UpdatePlan:
    """Decide which files of `manifest` are taken from `available` (SHA-256 -> path) and which are downloaded."""
    here = [(artifact, available[artifact.sha256]) for artifact in manifest.artifacts if artifact.sha256 in available]
    return UpdatePlan(reuse=here, download=[item for item in manifest.artifacts if item.sha256 not in available])


class Updater:
    """Keeps the bundle in a device's home at the release of one channel.

    Args:
        home: the device's folder; slots and TUF metadata lie under it.
        trusted_root: bytes of the root.json that came with the device.
        server_url: address of the server, without a trailing slash.
        channel: which channel's release to follow.
        transport: the network.
        prove: called with the staged folder before the switch.
        clock: gives the time that is recorded (UTC).
        on_bytes: called with the length of each piece that arrives.
    """

    def __init__(
        self,
        *,
        home: Path,
        trusted_root: bytes,
        server_url: str,
        channel: str,
        transport: Transport,
        prove: Prove,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_bytes: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.slots = Slots(home)
        self._metadata = home / "metadata"
        self._refused = home / "refused.json"
        self._root = trusted_root
        self._server_url = server_url
        self._channel = channel
        self._transport = transport
        self._downloads = Downloads(transport, on_bytes)
        self._prove = prove
        self._clock = clock

    def update(self) -> UpdateReport:
        """Install the channel's release unless it answers already.

        Whatever fails and wherever it is stopped, the bundle that answered before goes on answering. Downloads that
        broke off are continued by the next call. A damaged installed bundle is mended.

        Raises:
            SignatureError, RollbackError, ExpiredReleaseError: the release is not to be trusted.
            DownloadError: the network or the server.
            BundleError, InferenceError: the release does not work on this device; it is remembered and not tried again.
            StorageError: the disk is full, read-only or not permitted.
            UpdateError: no release in the channel, or another process is updating.
        """
        with self.slots.locked():
            try:
                return self._update()
            finally:
                self.slots.clear_staging()

    def _update(self) -> UpdateReport:
        trusted = TrustedTargets(
            metadata_folder=self._metadata,
            trusted_root=self._root,
            server_url=self._server_url,
            transport=self._transport,
        )
        trusted.refresh()
        target, note = self._release(trusted)
        installed = self.slots.installed
        old_id = installed.bundle_id if installed else None
        self._check_not_older(note, installed)
        if old_id == note.bundle_id and self._current_is_whole():
            return UpdateReport(old_id, note.bundle_id, note.release, 0, 0, 0)
        self._check_not_refused(note.bundle_id)
        staged = self._stage(trusted, target, note)
        self._prove_staged(note.bundle_id)
        stamp = self._clock().isoformat(timespec="seconds")
        self.slots.adopt_staging(
            Installed(bundle_id=note.bundle_id, channel=self._channel, release=note.release, installed_at=stamp)
        )
        self.slots.remove_unused()
        return UpdateReport(
            from_bundle_id=old_id,
            to_bundle_id=note.bundle_id,
            release=note.release,
            bytes_downloaded=staged.bytes_downloaded,
            files_downloaded=staged.files_downloaded,
            files_reused=staged.files_reused,
        )

    def _release(self, trusted: TrustedTargets) -> tuple[TargetFile, ReleaseNote]:
        target = trusted.find(manifest_target(self._channel))
        if target is None:
            raise UpdateError(f"the server has no release in channel {self._channel!r}; publish one, or choose another")
        note = ReleaseNote.from_target(target.unrecognized_fields.get("custom"), channel=self._channel)
        if target.hashes.get("sha256") != note.bundle_id:
            raise SignatureError(f"the release in channel {self._channel!r} names a bundle that is not its manifest")
        return target, note

    def _check_not_older(self, note: ReleaseNote, installed: Installed | None) -> None:
        if installed and installed.channel == self._channel and note.release < installed.release:
            raise RollbackError(
                f"channel {self._channel!r} offers release {note.release}, this device has {installed.release}; "
                "to go back, publish the older bundle as a new release"
            )

    def _current_is_whole(self) -> bool:
        try:
            return self.slots.current is not None and bool(open_bundle(self.slots.current))
        except BundleError as error:
            _LOG.warning("the installed bundle is damaged and will be mended: %s", error)
            return False

    def _stage(self, trusted: TrustedTargets, target: TargetFile, note: ReleaseNote) -> _Staged:
        data = self._downloads.to_memory(target, trusted.url(target), max_bytes=MAX_MANIFEST_BYTES)
        manifest = decode_manifest(data, source=f"the manifest of release {note.release}")
        self.slots.start_staging()
        plan = plan_update(manifest, self.slots.files_by_digest())
        missing = [artifact for artifact, source in plan.reuse if not self._reuse(artifact, source)]
        download = plan.download + missing
        received = sum(self._download(trusted, artifact) for artifact in download)
        write_bytes_atomically(self.slots.staging / MANIFEST_FILE, data)
        return _Staged(received + len(data), len(download), len(plan.reuse) - len(missing))

    def _reuse(self, artifact: Artifact, source: Path) -> bool:
        destination = self.slots.staging / artifact.path
        with disk_errors_named(destination):
            try:
                _link_or_copy(source, destination)
                check_artifact(self.slots.staging, artifact)
            except (FileNotFoundError, BundleError) as error:
                _LOG.warning("%s cannot be reused and is downloaded: %s", source, error)
                destination.unlink(missing_ok=True)
                return False
        return True

    def _download(self, trusted: TrustedTargets, artifact: Artifact) -> int:
        target = trusted.find(file_target(artifact.sha256))
        if target is None or target.length != artifact.length_bytes or target.hashes.get("sha256") != artifact.sha256:
            raise SignatureError(f"the release's manifest names {artifact.path}, which is not among the signed files")
        return self._downloads.to_file(
            target,
            trusted.url(target),
            partial=self.slots.partial / artifact.sha256,
            destination=self.slots.staging / artifact.path,
        )

    def _prove_staged(self, bundle_id: str) -> None:
        open_bundle(self.slots.staging)
        try:
            self._prove(self.slots.staging)
        except (BundleError, InferenceError) as error:
            self._remember_refused(bundle_id, str(error))
            raise

    def _refused_bundles(self) -> dict[str, str]:
        try:
            return msgspec.json.decode(self._refused.read_bytes(), type=dict[str, str])
        except (OSError, msgspec.MsgspecError):
            return {}

    def _remember_refused(self, bundle_id: str, reason: str) -> None:
        recent = list(self._refused_bundles().items())[-_REMEMBERED_REFUSALS + 1 :]
        write_bytes_atomically(self._refused, msgspec.json.encode({**dict(recent), bundle_id: reason}))

    def _check_not_refused(self, bundle_id: str) -> None:
        reason = self._refused_bundles().get(bundle_id)
        if reason is not None:
            raise BundleError(
                f"bundle {bundle_id[:12]} did not work on this device before and is not tried again ({reason}); "
                f"publish a better one, or remove {self._refused} to try it once more"
            )


def _link_or_copy(source: Path, destination: Path) -> None:
    # A hard link costs no space; file systems without them (or a bundle on another disk) get a copy.
    with contextlib.suppress(OSError):
        os.link(source, destination)
        return
    with source.open("rb") as reader, destination.open("wb") as writer:
        shutil.copyfileobj(reader, writer)
        writer.flush()
        os.fsync(writer.fileno())
