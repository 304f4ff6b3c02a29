"""Settings of a device: its server, channel and privacy level; HOME/node.json.

Every choice of a privacy level is also appended to HOME/consent.jsonl: what the owner agreed to, and when.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from edge_runtime.contract.atomic_files import disk_errors_named, write_bytes_atomically
from edge_runtime.contract.counts import CountSettings
from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.events import Consent
from edge_runtime.feedback.exploration import LoggingPolicy
from edge_runtime.feedback.privacy import PrivacyLevel
from edge_runtime.feedback.private_counts import Randomizer

SETTINGS_FILE = "node.json"
CONSENT_FILE = "consent.jsonl"


class NodeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a device knows of its place in the fleet.

    Attributes:
        server_url: address of the server.
        device_id: the device's name there.
        channel: whose releases it follows.
        privacy: what may leave it.
        consented_at_s: when that level was chosen, seconds since 1970.
        max_events: bound of the feedback queue.
        counts: privacy loss and window of level `counts`.
        logging: how shown pages are randomized.
    """

    server_url: str
    device_id: str
    channel: str
    privacy: PrivacyLevel = "events"
    consented_at_s: float | None = None
    max_events: int = 10_000
    counts: CountSettings = CountSettings()
    logging: LoggingPolicy = LoggingPolicy()

    @property
    def consent(self) -> Consent | None:
        """The choice of the level, as it travels with feedback."""
        return None if self.consented_at_s is None else Consent(self.privacy, self.consented_at_s)


def read_settings(home: Path) -> NodeSettings:
    """Return the settings of an enrolled device.

    Raises:
        ConfigError: the settings are malformed.
        OSError: they cannot be read; the device is not enrolled.
    """
    data = (home / SETTINGS_FILE).read_bytes()
    try:
        return msgspec.json.decode(data, type=NodeSettings)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(f"{home / SETTINGS_FILE} is malformed ({error}); enroll again in a new home") from error


def save_settings(home: Path, settings: NodeSettings) -> None:
    """Write the settings, first the line of consent; stopped between, the older level holds.

    Raises:
        StorageError: the disk is full, read-only or not permitted.
    """
    if settings.consent is not None:
        with disk_errors_named(home), (home / CONSENT_FILE).open("ab") as file:
            file.write(msgspec.json.encode(settings.consent) + b"\n")
            file.flush()
            os.fsync(file.fileno())
    write_bytes_atomically(home / SETTINGS_FILE, msgspec.json.encode(settings))


def choose_privacy(home: Path, level: PrivacyLevel, *, clock_s: Callable[[], float] = time.time) -> NodeSettings:
    """Set the privacy level of an enrolled device and note when that was chosen; return the new settings.

    It holds from the next opening of the device on, for what was recorded before as well.

    Raises:
        ConfigError: the device is not enrolled, or the level needs a package that is not installed.
        StorageError: the disk is full, read-only or not permitted.
    """
    check_level_works(level)
    try:
        settings = read_settings(home)
    except OSError as error:
        raise ConfigError(
            f"{home} is not the home of an enrolled device; enroll it with: pocketrec node enroll"
        ) from error
    changed = msgspec.structs.replace(settings, privacy=level, consented_at_s=clock_s())
    save_settings(home, changed)
    return changed


def check_level_works(level: PrivacyLevel) -> None:
    """Refuse a level that this installation cannot keep.

    Raises:
        ConfigError: level `counts` without OpenDP.
    """
    if level == "counts":
        Randomizer(CountSettings().epsilon)
