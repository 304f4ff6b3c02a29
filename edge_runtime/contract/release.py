"""The metadata of a published release, inside TUF's signed targets (docs/sync-protocol.md).

Every file of every served bundle is the target `files/<sha256>`. The releases of a channel that a device may install
are the targets `channels/<channel>/<release>.manifest.json`, each with a ReleaseNote as its `custom` field;
`channels/<channel>/manifest.json` is the newest of them that is not staged. A delta is the target
`deltas/<sha256 of the base>-<sha256 of the result>` with a DeltaNote.
"""

import hashlib
import re
from typing import Any

import msgspec

from edge_runtime.contract.errors import ConfigError, DeltaError, UpdateError

_CHANNEL = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_SHA256 = re.compile(r"[0-9a-f]{64}")

NO_BASE_SHA256 = hashlib.sha256(b"").hexdigest()
"""The base of a delta that needs none: the empty file."""


class ReleaseNote(msgspec.Struct, frozen=True, kw_only=True):
    """`custom` of a channel's manifest.

    `release` counts a channel's releases from 1 and only grows. `files` are the SHA-256 of the bundle's files, by
    which the next publication knows which targets are still in use. A `staged` release is installed only where the
    server's offer names it (rollouts, experiments), never as the channel's newest. Unknown fields are ignored.
    """

    bundle_id: str
    release: int
    published_at: str
    files: list[str]
    staged: bool = False

    @staticmethod
    def from_target(custom: Any, *, channel: str) -> "ReleaseNote":
        """Read the `custom` field of a channel's signed target.

        Raises:
            UpdateError: a field is missing or of the wrong type.
        """
        try:
            note = msgspec.convert(custom, ReleaseNote)
        except msgspec.ValidationError as error:
            raise UpdateError(
                f"the release note of channel {channel!r} is malformed ({error}); publish again"
            ) from error
        if note.release < 1 or not all(_SHA256.fullmatch(digest) for digest in (note.bundle_id, *note.files)):
            raise UpdateError(f"the release note of channel {channel!r} is malformed; publish again")
        return note


class DeltaNote(msgspec.Struct, frozen=True, kw_only=True):
    """`custom` of a delta: how it was found (`delta.KINDS`), its base, its result. Signed with the other metadata."""

    kind: str
    base_sha256: str
    result_sha256: str
    result_bytes: int

    @staticmethod
    def from_target(custom: Any) -> "DeltaNote":
        """Read the `custom` field of a signed delta.

        Raises:
            DeltaError: a field is missing or of the wrong type.
        """
        try:
            return msgspec.convert(custom, DeltaNote)
        except msgspec.ValidationError as error:
            raise DeltaError(f"the note of a delta is malformed ({error}); the whole file is fetched") from error


def check_channel(channel: str) -> str:
    """Return `channel` when it may name a channel.

    Raises:
        ConfigError: other than 1 to 40 lower-case letters, digits and hyphens.
    """
    if not _CHANNEL.fullmatch(channel):
        raise ConfigError(
            f"channel {channel!r}: expected 1 to 40 lower-case letters, digits and hyphens, like 'stable'"
        )
    return channel


def file_target(sha256: str) -> str:
    """Return the target path of the file with this SHA-256."""
    return f"files/{sha256}"


def delta_target(base_sha256: str, result_sha256: str) -> str:
    """Return the target path of the delta from one file to another."""
    return f"deltas/{base_sha256}-{result_sha256}"


def manifest_target(channel: str, release: int | None = None) -> str:
    """Return the target path of the manifest of a channel's `release`, by default of its newest that is not staged."""
    return f"channels/{channel}/{'' if release is None else f'{release}.'}manifest.json"


class EnrollmentRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A device's first words: the one-time code or enrollment key (or neither), the attestation of its platform, and the credential that it has made up and will use from now on.

    Sending it again, with the same credential, gives the same answer: a lost answer costs nothing.
    """

    code: str
    credential: str
    attestation: str = ""


class EnrollmentAnswer(msgspec.Struct, frozen=True):
    """The server's answer: the name under which it knows the device."""

    device_id: str
