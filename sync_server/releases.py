"""What the next targets.json says: decisions about releases, without disk or network."""

import re
from datetime import datetime

import msgspec
from tuf.api.metadata import TargetFile, Targets

from edge_runtime.contract.bundle import MANIFEST_FILE, Bundle, describe_file
from edge_runtime.contract.release import ReleaseNote, file_target, manifest_target

_CHANNEL_TARGET = re.compile(r"channels/([a-z0-9-]+)/manifest\.json")


def releases(targets: Targets) -> dict[str, ReleaseNote]:
    """Return the release of each channel that `targets` publishes.

    Raises:
        UpdateError: a release note is malformed.
    """
    notes = {}
    for path, target in targets.targets.items():
        match = _CHANNEL_TARGET.fullmatch(path)
        if match:
            channel = match.group(1)
            notes[channel] = ReleaseNote.from_target(target.unrecognized_fields.get("custom"), channel=channel)
    return notes


def next_targets(
    base: Targets | None, bundle: Bundle, *, channel: str, published_at: datetime, expires: datetime
) -> Targets:
    """Return targets that publish `bundle` in `channel` and leave the other channels of `base` as they are.

    Files that no channel uses any longer are not named again.

    Raises:
        UpdateError: a release note in `base` is malformed.
    """
    old = base.targets if base else {}
    notes = releases(base) if base else {}
    note = ReleaseNote(
        bundle_id=bundle.bundle_id,
        release=notes[channel].release + 1 if channel in notes else 1,
        published_at=published_at.isoformat(timespec="seconds"),
        files=sorted({item.sha256 for item in bundle.manifest.artifacts}),
    )
    targets: dict[str, TargetFile] = {}
    for other, other_note in notes.items():
        if other != channel:
            paths = [manifest_target(other), *map(file_target, other_note.files)]
            targets.update({path: old[path] for path in paths if path in old})
    for artifact in bundle.manifest.artifacts:
        path = file_target(artifact.sha256)
        targets[path] = TargetFile(artifact.length_bytes, {"sha256": artifact.sha256}, path)
    path, manifest = manifest_target(channel), describe_file(bundle.folder / MANIFEST_FILE)
    custom = {"custom": msgspec.to_builtins(note)}
    targets[path] = TargetFile(manifest.length_bytes, {"sha256": manifest.sha256}, path, custom)
    return Targets(version=base.version + 1 if base else 1, expires=expires, targets=targets)
