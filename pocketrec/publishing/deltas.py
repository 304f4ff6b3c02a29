"""Chooses the deltas of a publication: from the files of earlier releases, and from nothing, to those of the new one."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO

from tuf.api.metadata import Targets

from edge_runtime.contract.bundle import Bundle, Manifest, decode_manifest
from edge_runtime.contract.errors import BundleError
from edge_runtime.contract.release import NO_BASE_SHA256, DeltaNote, ReleaseNote, delta_target
from pocketrec.publishing.delta_making import MakeDelta
from sync_server.repository.releases import DeltaFile

MIN_FILE_BYTES = 2_000
"""Shorter files are not worth a second target."""

Read = Callable[[str], bytes | None]
"""Gives the published file with a SHA-256, or None when it cannot be had."""


@dataclass(frozen=True)
class MadeDelta:
    """A delta and its bytes."""

    file: DeltaFile
    data: bytes

    def content(self) -> BytesIO:
        """Return the bytes as something to read."""
        return BytesIO(self.data)


def make_deltas(
    bundle: Bundle, *, earlier: Iterable[ReleaseNote], known: Targets | None, read: Read, make: MakeDelta
) -> Iterator[MadeDelta]:
    """Make the deltas by which devices come to `bundle`.

    For each file that differs from the file of the same name in an earlier release there may be one, and for each file
    one from nothing: the file compressed, for first installations. What is already among the `known` targets, cannot be
    read, or would hardly be smaller than the whole file is left out.

    Args:
        bundle: what is about to be published.
        earlier: the releases that devices may have.
        known: the targets before.
        read: reads a published file; its SHA-256 is compared here.
        make: finds the smallest delta between two files.
    """
    done = set(known.targets) if known else set()
    manifests = [found for note in earlier if (found := _manifest(note, read)) is not None]
    for artifact in bundle.manifest.artifacts:
        if artifact.length_bytes < MIN_FILE_BYTES:
            continue
        bases = {file.sha256 for old in manifests for file in old.artifacts if file.path == artifact.path}
        for base_sha256 in (NO_BASE_SHA256, *sorted(bases - {artifact.sha256})):
            path = delta_target(base_sha256, artifact.sha256)
            base = b"" if base_sha256 == NO_BASE_SHA256 else _checked(read(base_sha256), base_sha256)
            if path in done or base is None:
                continue
            done.add(path)
            delta = make(base, (bundle.folder / artifact.path).read_bytes())
            if delta is not None:
                note = DeltaNote(
                    kind=delta.kind,
                    base_sha256=base_sha256,
                    result_sha256=artifact.sha256,
                    result_bytes=artifact.length_bytes,
                )
                sha256 = hashlib.sha256(delta.data).hexdigest()
                yield MadeDelta(DeltaFile(note, len(delta.data), sha256), delta.data)


def _checked(data: bytes | None, sha256: str) -> bytes | None:
    return data if data is not None and hashlib.sha256(data).hexdigest() == sha256 else None


def _manifest(note: ReleaseNote, read: Read) -> Manifest | None:
    data = _checked(read(note.bundle_id), note.bundle_id)
    if data is None:
        return None
    try:
        return decode_manifest(data, source=f"the manifest of release {note.release}")
    except BundleError:
        # Published by a newer builder, or under older rules: it is no base, and nothing is lost but bytes.
        return None
