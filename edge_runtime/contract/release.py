"""What a published release says of itself, inside TUF's signed targets (docs/sync-protocol.md).

Every file of every served bundle is the target `files/<sha256>`; a channel's release is the target
`channels/<channel>/manifest.json`, whose `custom` field is a ReleaseNote.
"""

import re
from typing import Any

import msgspec

from edge_runtime.contract.errors import ConfigError, UpdateError

_CHANNEL = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ReleaseNote(msgspec.Struct, frozen=True, kw_only=True):
    """`custom` of a channel's manifest.

    `release` counts a channel's releases from 1 and only grows. `files` are the SHA-256 of the bundle's files, by
    which the next publication knows which targets are still in use. Unknown fields are ignored.
    """

    bundle_id: str
    release: int
    published_at: str
    files: list[str]

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


def manifest_target(channel: str) -> str:
    """Return the target path of a channel's manifest."""
    return f"channels/{channel}/manifest.json"


class EnrolmentRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A device's first words: the one-time code, and the credential that it has made up and will use from now on.

    Sending it again, with the same credential, gives the same answer: a lost answer costs nothing.
    """

    code: str
    credential: str


class EnrolmentAnswer(msgspec.Struct, frozen=True):
    """The server's answer: the name under which it knows the device."""

    device_id: str
