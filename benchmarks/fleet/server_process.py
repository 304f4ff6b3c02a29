"""`pocketrec serve` in a process of its own with a temporary home folder and enrolled devices."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import func, insert, select

from edge_runtime.contract.errors import ConfigError
from edge_runtime.node import enroll
from pocketrec.publishing.key_files import create_keys
from sync_server.config import ServerConfig
from sync_server.database.engine import open_database, reading
from sync_server.database.tables.devices import Device
from sync_server.database.tables.events import Event
from sync_server.devices.enrollment import Enrollment, digest_of
from sync_server.hosting.home import prepare_home

_REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Credentials:
    """What a device sends of itself."""

    device_id: str
    credential: str


class ServerProcess:
    """A server on a free port of the loopback interface.

    Args:
        database_url: "" for SQLite.
        redis_url: "" for the memory of each worker.
        settings: lines of the settings file; the limits of feedback that they do not name are far off.

    Raises:
        ConfigError: it does not start.
    """

    def __init__(self, *, database_url: str = "", redis_url: str = "", settings: Sequence[str] = ()) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pocketrec-serve-"))
        self.keys = self.folder / "keys"
        self.config = ServerConfig(home=self.folder / "home", database_url=database_url, redis_url=redis_url)
        create_keys(self.keys, expires_days=3650, passphrase=None, now=datetime.now(UTC))
        prepare_home(self.config, keys=self.keys)
        # The load comes from few devices and one address.
        names = {"feedback_per_minute", "feedback_bytes_per_day", "feedback_events_per_day"}
        names -= {line.partition("=")[0].strip() for line in settings}
        lines = [f"{name} = 1_000_000_000_000" for name in sorted(names)]
        lines += [f'home = "{self.config.home}"', f'database_url = "{database_url}"', f'redis_url = "{redis_url}"']
        (self.folder / "server.toml").write_text("\n".join([*lines, *settings]) + "\n")
        self.port = 0
        self._enrolled = 0
        self.start()

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What the server has written to stderr."""
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start it, again after `kill`, on the same port if there was one."""
        command = [sys.executable, "-m", "pocketrec", "serve"]
        command += ["--config", str(self.folder / "server.toml"), "--port", str(self.port), "--json"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(_REPOSITORY)},
                # Its own group, so that a kill reaches the workers as well.
                start_new_session=True,
            )
        if self._process.stdout is None or not (line := self._process.stdout.readline()):
            raise ConfigError(f"the server did not start: {self.log[-2_000:]}")
        self.port = urlsplit(json.loads(line)["url"]).port or 0

    def kill(self) -> None:
        """End the first process and its workers as a crash would."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def stop(self) -> None:
        """End it in order and remove its home."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.kill()
        if self._process.stdout is not None:
            self._process.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def enroll(self, count: int) -> list[Credentials]:
        """Write `count` devices into the database, as if each had used a code."""
        numbers = range(self._enrolled, self._enrolled + count)
        self._enrolled += count
        devices = [Credentials(f"device-{number:06d}", secrets.token_urlsafe(32)) for number in numbers]
        rows = [
            {
                "device_id": device.device_id,
                "credential_sha256": digest_of(device.credential),
                "enrolled_at_s": time.time(),
                "forgotten_sequence": 0,
            }
            for device in devices
        ]
        engine = open_database(self.config.database)
        with engine.begin() as connection:
            connection.execute(insert(Device), rows)
        engine.dispose()
        return devices

    def enroll_home(self, home: Path) -> None:
        """Make `home` the home of an enrolled device, by a code and over the network."""
        engine = open_database(self.config.database)
        code = Enrollment(engine, time.time).new_code(valid_days=1)
        engine.dispose()
        enroll(home, server_url=self.url, trusted_root=(self.keys / "root.json").read_bytes(), code=code)

    def stored(self) -> dict[str, list[int]]:
        """Return the sequence numbers that are stored, by device, rising."""
        engine = open_database(self.config.database)
        numbers: dict[str, list[int]] = {}
        with reading(engine).connect() as connection:
            for device_id, sequence in connection.execute(
                select(Event.device_id, Event.sequence).order_by(Event.device_id, Event.sequence)
            ):
                numbers.setdefault(device_id, []).append(sequence)
        engine.dispose()
        return numbers

    def count_events(self) -> int:
        """Return how many events are stored."""
        engine = open_database(self.config.database)
        with reading(engine).connect() as connection:
            count = connection.scalar(select(func.count()).select_from(Event)) or 0
        engine.dispose()
        return count
