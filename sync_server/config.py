"""The server's settings: defaults here, a TOML file over them, flags over that."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from edge_runtime.contract.counts import CountSettings
from edge_runtime.contract.errors import ConfigError
from sync_server.events.daily_quota import DailyQuota

DATABASE_FILE = "server.sqlite"
DATABASE_URL_VARIABLE = "POCKETREC_DATABASE_URL_FILE"
REDIS_URL_VARIABLE = "POCKETREC_REDIS_URL_FILE"
METRICS_TOKEN_VARIABLE = "POCKETREC_METRICS_TOKEN_FILE"  # noqa: S105  (the name of a variable that names a file)
# Setting with a secret -> the environment variable that names the file with its value.
_SECRET_FILES = {
    "database_url": DATABASE_URL_VARIABLE,
    "redis_url": REDIS_URL_VARIABLE,
    "metrics_token": METRICS_TOKEN_VARIABLE,
}

_MAY_BE_ZERO = {"port", "trusted_proxies", "anonymous_enrollments_per_minute"}


@dataclass(frozen=True)
class ServerConfig:
    """Settings of one server.

    `home` is the folder of everything that the server stores (hosting/home.py). Relative folders are made absolute. Sizes
    are in bytes. The server deletes feedback after `retention_days`.

    The signed timestamp tells devices that the newest release is still the newest. It is valid for `timestamp_hours`. The
    server renews it when less than half of that time is left, so it may be down for half of that time before devices notice.

    `database_url` (postgresql://user@host/name) replaces the SQLite file in `home`. `redis_url` (redis://host:port/0)
    replaces the memory of each worker. A URL with a password must be in a file that POCKETREC_DATABASE_URL_FILE or
    POCKETREC_REDIS_URL_FILE names, never in the settings. POCKETREC_METRICS_TOKEN_FILE names a file with the
    `metrics_token`; with it, only requests that send it can read /metrics.

    Published files are in `home`. With `files_url` (s3://bucket/releases; `files_endpoint_url` for a service that is not
    Amazon's) they are there, with copies in `home`. The signed metadata is always in `home`.

    With `accel_redirect`, nginx sends the published files (deploy/nginx.conf): the server names the file in an X-Accel-Redirect
    header, under this prefix of an internal location, and sends no content itself.

    Pages of the `allowed_origins` (https://shop.example.com, or * for all) may load the public files of a channel.

    `rank_backend` answers `/v1/rank` for thin clients: a bundle in `rank_folder`, or a model exported to `rank_folder`, in
    ONNX Runtime or in TensorFlow Serving at `rank_url`. Answers are cached for `rank_cache_s`. In one minute, a device may
    send `feedback_per_minute` batches, `rank_per_minute` ranking requests, `counts_per_minute` reports of counts and
    `reports_per_minute` batches of reports about bundles, and ask `data_requests_per_minute` times for its stored data or their
    erasure; one address may send `enrollments_per_minute` codes.

    Without any code, `anonymous_enrollments_per_minute` devices may enroll at each worker, or at all together with Redis; 0
    lets nobody. `attestation` names what judges devices that enroll without a one-time code, as module:name
    (devices/attestation.py).

    In a day (UTC), one device may send `feedback_bytes_per_day` of unpacked bodies and `feedback_events_per_day` events and
    reports; above that it is asked to send later.

    Reports of devices at level `counts` are stored when they have the privacy loss `counts_epsilon` and windows of
    `counts_window_s`, which are also the defaults of devices (`counts` of node.json).

    An operator's login lasts `session_hours`. One address may try `login_attempts_per_minute` logins. `trusted_proxies` is
    the number of reverse proxies in front that pass on the client's address and protocol (X-Forwarded-For, -Proto).

    The server closes a connection without a request after `keep_alive_s`, one whose request header takes longer than
    `slow_header_s`, one whose request takes longer than `slow_request_s`, and one that takes nothing of a large answer for
    `slow_read_s`. A request that moves a file of a bundle may take `slow_transfer_s`.
    """

    home: Path = Path("server")
    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 2
    threads: int = 8
    timestamp_hours: int = 48
    snapshot_days: int = 14
    enrollment_code_days: int = 7
    max_file_bytes: int = 2_000_000_000
    max_targets_bytes: int = 5_000_000
    max_feedback_bytes: int = 1_000_000
    max_feedback_events: int = 1_000
    session_hours: int = 12
    login_attempts_per_minute: int = 20
    trusted_proxies: int = 0
    keep_alive_s: int = 5
    slow_header_s: int = 10
    slow_request_s: int = 30
    slow_read_s: int = 20
    slow_transfer_s: int = 900
    retention_days: int = 400
    feedback_per_minute: int = 600
    feedback_bytes_per_day: int = DailyQuota().max_bytes
    feedback_events_per_day: int = DailyQuota().max_events
    enrollments_per_minute: int = 60
    anonymous_enrollments_per_minute: int = 0
    attestation: str = ""
    counts_per_minute: int = 60
    reports_per_minute: int = 60
    data_requests_per_minute: int = 10
    counts_epsilon: float = CountSettings().epsilon
    counts_window_s: int = CountSettings().window_s
    files_url: str = ""
    files_endpoint_url: str = ""
    accel_redirect: str = ""
    allowed_origins: tuple[str, ...] = ()
    rank_backend: Literal["", "bundle", "onnx", "tf-serving"] = ""
    rank_folder: Path = Path("bundle")
    rank_url: str = "http://127.0.0.1:8501/v1/models/teacher"
    rank_cache_s: int = 300
    rank_cache_items: int = 10_000
    rank_per_minute: int = 600
    database_url: str = field(default="", repr=False)
    redis_url: str = field(default="", repr=False)
    metrics_token: str = field(default="", repr=False)

    @property
    def database(self) -> Path | str:
        """The database's URL, or the SQLite file in `home`."""
        return self.database_url or self.home / DATABASE_FILE

    @property
    def open_downloads(self) -> int:
        """How many large answers each worker sends at once.

        Three quarters of the threads: 6 of 8, as many as one browser asks for at once (of one host, by HTTP/1.1).
        """
        return max(1, self.threads * 3 // 4)

    @property
    def quota(self) -> DailyQuota:
        """The most that one device may send in a day."""
        return DailyQuota(max_bytes=self.feedback_bytes_per_day, max_events=self.feedback_events_per_day)

    @property
    def counts(self) -> CountSettings:
        """What every report of counts must be made by."""
        return CountSettings(epsilon=self.counts_epsilon, window_s=self.counts_window_s)

    def __post_init__(self) -> None:
        """Make the folders absolute, and refuse values that cannot work.

        Raises:
            ConfigError: a number outside its range.
        """
        # Flask's send_file would look for a relative path in the package's folder, not in the current folder.
        for name in ("home", "rank_folder"):
            object.__setattr__(self, name, getattr(self, name).absolute())
        if not 0 <= self.port <= 65_535:
            raise ConfigError(f"port: expected 0 to 65535, got {self.port}")
        numbers = {item.name for item in dataclasses.fields(self) if item.type is int} - _MAY_BE_ZERO
        if self.anonymous_enrollments_per_minute < 0:
            raise ConfigError("anonymous_enrollments_per_minute: expected 0 (nobody) or more")
        for name in sorted(numbers):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected at least 1, got {getattr(self, name)}")
        for day, request in (("bytes_per_day", "bytes"), ("events_per_day", "events")):
            if getattr(self, f"feedback_{day}") < getattr(self, f"max_feedback_{request}"):
                raise ConfigError(
                    f"feedback_{day}: expected at least max_feedback_{request}, or no full batch is ever taken"
                )
        prefix = self.accel_redirect
        if prefix and not re.fullmatch(r"/[a-z0-9_-]+/", prefix):
            raise ConfigError(
                f"accel_redirect: expected an internal location of nginx like /stored-files/, got {prefix!r}"
            )
        for origin in self.allowed_origins:
            if origin != "*" and not re.fullmatch(r"https?://[a-z0-9.:\[\]-]+", origin):
                raise ConfigError(
                    f"allowed_origins: expected origins like https://shop.example.com, or *, got {origin!r}"
                )
        # Refuses values without a meaning.
        _ = self.counts


def with_secrets(config: ServerConfig, environment: Mapping[str, str]) -> ServerConfig:
    """Return `config` with the values that must not stand in a settings file, read from files that the environment names.

    Raises:
        ConfigError: a setting holds a password, or a named file cannot be read.
    """
    found: dict[str, Any] = {}
    for name, variable in _SECRET_FILES.items():
        if (name == "metrics_token" and config.metrics_token) or urlsplit(getattr(config, name)).password:
            raise ConfigError(f"{name} is a secret; put it into a file and name that file in {variable}")
        if environment.get(variable):
            found[name] = _read_secret(Path(environment[variable]), variable)
    return dataclasses.replace(config, **found) if found else config


def _read_secret(path: Path, variable: str) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}, which {variable} names ({error}); write the URL into it") from error
