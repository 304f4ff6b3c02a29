"""The content of the next targets.json: decisions about releases, without disk or network."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import msgspec
from tuf.api.metadata import TargetFile, Targets

from edge_runtime.contract.bundle import MANIFEST_FILE, Artifact, Bundle, describe_file
from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.release import (
    NO_BASE_SHA256,
    DeltaNote,
    ReleaseNote,
    delta_target,
    file_target,
    manifest_target,
)

_MANIFEST_TARGET = re.compile(r"channels/([a-z0-9-]+)/(?:[1-9][0-9]*\.)?manifest\.json")
_DELTA_TARGET = re.compile(r"deltas/([0-9a-f]{64})-([0-9a-f]{64})")
KEPT_RELEASES = 3
"""How many releases of a channel stay signed: the newest, and those that a rollout may go back to."""


@dataclass(frozen=True)
class DeltaFile:
    """A delta that is published: its note, and length and SHA-256 of its own bytes."""

    note: DeltaNote
    length_bytes: int
    sha256: str


def all_releases(targets: Targets) -> dict[str, dict[int, ReleaseNote]]:
    """Return every release of each channel that `targets` lets devices install: channel -> release number -> note.

    Raises:
        UpdateError: a release note is malformed.
    """
    notes: dict[str, dict[int, ReleaseNote]] = {}
    for path, target in targets.targets.items():
        match = _MANIFEST_TARGET.fullmatch(path)
        if match:
            channel = match.group(1)
            note = ReleaseNote.from_target(target.unrecognized_fields.get("custom"), channel=channel)
            notes.setdefault(channel, {})[note.release] = note
    return notes


def releases(targets: Targets) -> dict[str, ReleaseNote]:
    """Return the newest release of each channel that `targets` publishes, staged or not.

    Raises:
        UpdateError: a release note is malformed.
    """
    return {channel: notes[max(notes)] for channel, notes in all_releases(targets).items()}


def kept_releases(notes: dict[int, ReleaseNote], *, keep: int, staged: bool) -> list[ReleaseNote]:
    """Return the releases of a channel that stay signed beside the next one, newest first.

    These are the `keep - 1` newest and, when the next one is `staged`, the newest that is not: devices that no rollout
    chooses have that one.
    """
    newest_first = [notes[number] for number in sorted(notes, reverse=True)]
    open_to_all = next((note for note in newest_first if not note.staged), None)
    return [note for place, note in enumerate(newest_first) if place < keep - 1 or (staged and note is open_to_all)]


def next_targets(
    base: Targets | None,
    bundle: Bundle,
    *,
    channel: str,
    published_at: datetime,
    expires: datetime,
    staged: bool = False,
    keep: int = KEPT_RELEASES,
    deltas: Iterable[DeltaFile] = (),
) -> Targets:
    """Return targets that publish `bundle` in `channel` and leave the other channels of `base` as they are.

    Files and deltas that no release uses any longer are not named again.

    Args:
        base: the targets before, None for the first.
        bundle: what is published.
        channel: the channel that gets it.
        published_at: recorded in the release note.
        expires: of the targets.
        staged: devices install it only where the server's offer says so.
        keep: how many releases of the channel stay signed, this one among them.
        deltas: made for this publication.

    Raises:
        ConfigError: the first release of a channel cannot be staged: devices outside the rollout would have none.
        UpdateError: a release note in `base` is malformed.
    """
    notes = all_releases(base) if base else {}
    before = notes.get(channel, {})
    kept = kept_releases(before, keep=keep, staged=staged)
    if staged and not any(not note.staged for note in kept):
        raise ConfigError(f"channel {channel} has no release yet: publish the first one without --staged")
    note = ReleaseNote(
        bundle_id=bundle.bundle_id,
        release=max(before, default=0) + 1,
        published_at=published_at.isoformat(timespec="seconds"),
        files=sorted({item.sha256 for item in bundle.manifest.artifacts}),
        staged=staged,
    )
    targets = _kept_targets(base, {**notes, channel: {old.release: old for old in kept}}) if base else {}
    for artifact in bundle.manifest.artifacts:
        _add(targets, file_target(artifact.sha256), artifact)
    _add_manifest(targets, channel, note, describe_file(bundle.folder / MANIFEST_FILE))
    for delta in deltas:
        path = delta_target(delta.note.base_sha256, delta.note.result_sha256)
        custom = {"custom": msgspec.to_builtins(delta.note)}
        targets[path] = TargetFile(delta.length_bytes, {"sha256": delta.sha256}, path, custom)
    return Targets(
        version=base.version + 1 if base else 1,
        expires=expires,
        targets=_without_strays(targets),
        delegations=base.delegations if base else None,
    )


def _kept_targets(base: Targets, notes: dict[str, dict[int, ReleaseNote]]) -> dict[str, TargetFile]:
    old = base.targets
    targets: dict[str, TargetFile] = {}
    for channel, by_number in notes.items():
        for note in sorted(by_number.values(), key=lambda note: note.release):
            manifest = old.get(manifest_target(channel, note.release)) or old[manifest_target(channel)]
            entry = Artifact(MANIFEST_FILE, manifest.length, manifest.hashes["sha256"])
            _add_manifest(targets, channel, note, entry)
            targets.update({path: old[path] for path in map(file_target, note.files) if path in old})
    targets.update({path: target for path, target in old.items() if _DELTA_TARGET.fullmatch(path)})
    return targets


def _add(targets: dict[str, TargetFile], path: str, file: Artifact) -> None:
    targets[path] = TargetFile(file.length_bytes, {"sha256": file.sha256}, path)


def _add_manifest(targets: dict[str, TargetFile], channel: str, note: ReleaseNote, manifest: Artifact) -> None:
    custom = {"custom": msgspec.to_builtins(note)}
    numbered, newest = manifest_target(channel, note.release), manifest_target(channel)
    for path in (numbered,) if note.staged else (numbered, newest):
        targets[path] = TargetFile(manifest.length_bytes, {"sha256": manifest.sha256}, path, custom)


def _without_strays(targets: dict[str, TargetFile]) -> dict[str, TargetFile]:
    """Leave out deltas whose base or result is no longer the file of a release."""

    def is_used(path: str) -> bool:
        match = _DELTA_TARGET.fullmatch(path)
        if match is None:
            return True
        base, result = match.groups()
        return file_target(result) in targets and (base == NO_BASE_SHA256 or file_target(base) in targets)

    return {path: target for path, target in targets.items() if is_used(path)}
