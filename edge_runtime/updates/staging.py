"""Assembles the next bundle: links files that are here already; makes the rest from deltas or downloads it."""

import contextlib
import hashlib
import io
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tuf.api.metadata import TargetFile

from edge_runtime.contract.atomic_files import disk_errors_named
from edge_runtime.contract.bundle import Artifact, Manifest, check_artifact, device_artifacts
from edge_runtime.contract.delta import KINDS, delta_pieces
from edge_runtime.contract.errors import (
    BundleError,
    DeltaError,
    DownloadTooLargeError,
    HttpStatusError,
    SignatureError,
)
from edge_runtime.contract.release import NO_BASE_SHA256, DeltaNote, delta_target, file_target
from edge_runtime.updates.downloads import Downloads
from edge_runtime.updates.slots import Slots
from edge_runtime.updates.tuf_client import TrustedTargets

_LOG = logging.getLogger(__name__)
# HTTP's Not Found and Gone: the server has removed the delta since it was signed. Range Not Satisfiable: it has a shorter one.
_GONE = {404, 410, 416}


@dataclass(frozen=True)
class UpdatePlan:
    """Where each file of the next bundle comes from: a file that is here already, or the server."""

    reuse: list[tuple[Artifact, Path]]
    download: list[Artifact]


@dataclass
class Staged:
    """What putting a bundle together took."""

    bytes_downloaded: int = 0
    files_downloaded: int = 0
    files_reused: int = 0
    deltas_applied: int = 0


@dataclass(frozen=True)
class _Way:
    """A delta by which a file can be made: its signed target and note, and the base that is here (None: none needed)."""

    target: TargetFile
    note: DeltaNote
    base: Path | None


def plan_update(manifest: Manifest, available: Mapping[str, Path]) -> UpdatePlan:
    """Decide which of the files that a device needs are taken from `available` (SHA-256 -> path), the others being fetched."""
    needed = device_artifacts(manifest)
    here = [(artifact, available[artifact.sha256]) for artifact in needed if artifact.sha256 in available]
    return UpdatePlan(reuse=here, download=[artifact for artifact in needed if artifact.sha256 not in available])


@dataclass(frozen=True)
class Stager:
    """Fills the staging folder of `slots` with the files of a bundle that `trusted` vouches for."""

    slots: Slots
    downloads: Downloads
    trusted: TrustedTargets

    def stage(self, manifest: Manifest) -> Staged:
        """Put every file of `manifest` that a device needs into an emptied staging folder.

        Stopped halfway, what was downloaded is kept for the next call.

        Raises:
            SignatureError: a file is not among the signed ones, or is not what was signed.
            DownloadError: the network; call again to continue.
            StorageError: the disk is full, read-only or not permitted.
        """
        self.slots.start_staging()
        available = self.slots.files_by_digest()
        plan = plan_update(manifest, available)
        staged = Staged()
        missing = [artifact for artifact, source in plan.reuse if not self._reuse(artifact, source)]
        staged.files_reused = len(plan.reuse) - len(missing)
        for artifact in plan.download + missing:
            self._fetch(artifact, available, staged)
        return staged

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

    def _fetch(self, artifact: Artifact, available: Mapping[str, Path], staged: Staged) -> None:
        target = self.trusted.find(file_target(artifact.sha256))
        if target is None or target.length != artifact.length_bytes or target.hashes.get("sha256") != artifact.sha256:
            raise SignatureError(f"the release's manifest names {artifact.path}, which is not among the signed files")
        staged.files_downloaded += 1
        partial = self.slots.partial / artifact.sha256
        rest = target.length - (partial.stat().st_size if partial.exists() else 0)
        way = self._shortest_way(artifact, available)
        if way is not None and way.target.length < rest and self._rebuild(artifact, way, staged):
            return
        staged.bytes_downloaded += self.downloads.to_file(
            target, self.trusted.url(target), partial=partial, destination=self.slots.staging / artifact.path
        )

    def _shortest_way(self, artifact: Artifact, available: Mapping[str, Path]) -> _Way | None:
        bases: dict[str, Path | None] = {
            sha256: path for sha256, path in available.items() if path.name == artifact.path
        }
        ways = []
        for base_sha256, base in {NO_BASE_SHA256: None, **bases}.items():
            target = self.trusted.find(delta_target(base_sha256, artifact.sha256))
            if target is None:
                continue
            try:
                note = DeltaNote.from_target(target.unrecognized_fields.get("custom"))
            except DeltaError as error:
                _LOG.warning("%s", error)
                continue
            bound = (note.base_sha256, note.result_sha256, note.result_bytes)
            # A kind from a newer publisher is passed over: another delta or the whole file does instead.
            if note.kind in KINDS and bound == (base_sha256, artifact.sha256, artifact.length_bytes):
                ways.append(_Way(target, note, base))
        return min(ways, key=lambda way: way.target.length, default=None)

    def _rebuild(self, artifact: Artifact, way: _Way, staged: Staged) -> bool:
        """Make the file from its base; whatever is wrong with the delta, the whole file is fetched instead."""
        place = self.slots.partial / way.target.hashes["sha256"]
        delta, made = place.with_name(f"{place.name}.delta"), place.with_name(f"{place.name}.made")
        try:
            staged.bytes_downloaded += self.downloads.to_file(
                way.target, self.trusted.url(way.target), partial=place, destination=delta
            )
            with disk_errors_named(delta):
                apply_to_file(way.note, way.base, delta, made)
                made.replace(self.slots.staging / artifact.path)
        except (DeltaError, SignatureError, DownloadTooLargeError, FileNotFoundError) as error:
            _LOG.warning("the delta of %s cannot be used, the whole file is fetched: %s", artifact.path, error)
            return False
        except HttpStatusError as error:
            if error.status_code not in _GONE:
                raise
            _LOG.warning("the delta of %s is gone, the whole file is fetched", artifact.path)
            return False
        finally:
            delta.unlink(missing_ok=True)
            made.unlink(missing_ok=True)
        staged.deltas_applied += 1
        return True


def apply_to_file(note: DeltaNote, base_path: Path | None, delta_path: Path, made: Path) -> None:
    """Write the file that a delta makes to `made`, piece by piece: a file of 80 MB need not fit the memory.

    Stopped halfway or refused, a part of the file is in `made`.

    Raises:
        DeltaError: the base is another one, the delta is malformed, or it makes another file than the note says.
    """
    digest = hashlib.sha256()
    with (
        base_path.open("rb") if base_path is not None else io.BytesIO() as base,
        delta_path.open("rb") as delta,
        made.open("wb") as file,
    ):
        if hashlib.file_digest(base, "sha256").hexdigest() != note.base_sha256:
            raise DeltaError("the installed file is not the base that the delta is bound to")
        for piece in delta_pieces(base, delta, kind=note.kind, result_bytes=note.result_bytes):
            digest.update(piece)
            file.write(piece)
        if digest.hexdigest() != note.result_sha256:
            raise DeltaError("the delta makes another file than was signed")
        file.flush()
        os.fsync(file.fileno())


def _link_or_copy(source: Path, destination: Path) -> None:
    # A hard link costs no space; file systems without them (or a bundle on another disk) get a copy.
    with contextlib.suppress(OSError):
        os.link(source, destination)
        return
    with source.open("rb") as reader, destination.open("wb") as writer:
        shutil.copyfileobj(reader, writer)
        writer.flush()
        os.fsync(writer.fileno())
