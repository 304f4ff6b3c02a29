"""The server's settings: defaults here, a TOML file over them, flags over that."""

from dataclasses import dataclass
from pathlib import Path

from edge_runtime.contract.errors import ConfigError


@dataclass(frozen=True)
class ServerConfig:
    """Settings of one server.

    `home` holds everything the server keeps (home.py). Sizes are in bytes. The signed timestamp is what tells devices
    that the newest release is still the newest: it lives `timestamp_hours` and is renewed when less than half is left,
    so a server may be down for half of that time before devices notice.
    """

    home: Path = Path("server")
    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 2
    threads: int = 8
    timestamp_hours: int = 48
    snapshot_days: int = 14
    enrolment_code_days: int = 7
    max_file_bytes: int = 2_000_000_000
    max_targets_bytes: int = 5_000_000
    max_feedback_bytes: int = 1_000_000
    max_feedback_events: int = 1_000

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            ConfigError: a number outside its range.
        """
        if not 0 <= self.port <= 65_535:
            raise ConfigError(f"port: expected 0 to 65535, got {self.port}")
        for name in (
            "workers",
            "threads",
            "timestamp_hours",
            "snapshot_days",
            "enrolment_code_days",
            "max_file_bytes",
            "max_targets_bytes",
            "max_feedback_bytes",
            "max_feedback_events",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected at least 1, got {getattr(self, name)}")
