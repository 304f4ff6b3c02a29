"""The real server without a network: its Flask application behind a Transport, with faults and a clock that tests set."""

import contextlib
import functools
import json
import tempfile
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from sqlalchemy import Engine

from edge_runtime.contract.bundle import Bundle
from edge_runtime.updates.http_transport import Answer
from edge_runtime.updates.updater import Prove, Updater
from pocketrec.publishing.key_files import create_keys
from pocketrec.publishing.publisher import LocalTarget, Publication, publish
from sync_server.app import create_app
from sync_server.config import ServerConfig
from sync_server.database.engine import migrate, open_database
from sync_server.devices.enrollment import Enrollment
from sync_server.events.ingest import EventIngest
from sync_server.hosting.home import TOKEN_FILE, prepare_home
from sync_server.repository.tuf_repository import Repository
from sync_server.services import EXTENSION, Services

URL = "http://localhost"
Fault = Callable[[str, str, Answer], Answer]
"""Takes method, path and the true answer; gives the answer that arrives, or raises."""


class SimulatedTransport:
    """A Transport into a Flask test client. `fault` may change what arrives; `requests` lists "METHOD path"."""

    def __init__(self, client: FlaskClient) -> None:
        self._client = client
        self.fault: Fault = lambda _method, _path, answer: answer
        self.requests: list[str] = []
        self.headers: list[dict[str, str]] = []

    @contextlib.contextmanager
    def open(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Iterator[Answer]:
        parts = urllib.parse.urlsplit(url)
        path = parts.path
        self.requests.append(f"{method} {path}")
        self.headers.append(dict(headers or {}))
        response = self._client.open(
            path, method=method, query_string=parts.query, headers=dict(headers or {}), data=body, buffered=True
        )
        data = response.data
        lower = {name.lower(): value for name, value in response.headers.items()}
        response.close()
        chunks = iter([data[start : start + 100] for start in range(0, len(data), 100)])
        yield self.fault(method, path, Answer(response.status_code, lower, chunks))


def changed_body(answer: Answer, change: Callable[[bytes], bytes]) -> Answer:
    """Return `answer` with another body."""
    return replace(answer, chunks=iter([change(b"".join(answer.chunks))]))


def whole_body(answer: Answer, change: Callable[[bytes], bytes]) -> Answer:
    """Return `answer` with another body, and the length of that: what a server sends whose own file is another."""
    data = change(b"".join(answer.chunks))
    return replace(answer, headers={**answer.headers, "content-length": str(len(data))}, chunks=iter([data]))


@functools.cache
def _empty_database() -> bytes:
    """A database with all tables: to make them anew for each test would be half of its time."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "db.sqlite"
        engine = open_database(path)
        migrate(engine)
        engine.dispose()
        return path.read_bytes()


class ServerSimulator:
    """Keys, a prepared home and the application, under `folder`; `settings` are those of ServerConfig."""

    def __init__(self, folder: Path, *, expires_days: int = 3650, keys: Path | None = None, **settings: Any) -> None:
        self.folder = folder
        self.now = datetime.now(UTC)
        self.keys = keys or folder / "keys"
        if keys is None:
            create_keys(self.keys, expires_days=expires_days, passphrase=None, now=self.now)
        self.config = ServerConfig(home=folder / "server", **settings)
        if "database_url" not in settings:
            self.config.home.mkdir(parents=True)
            Path(self.config.home / "server.sqlite").write_bytes(_empty_database())
        prepare_home(self.config, keys=self.keys)
        self.app = create_app(self.config, clock=lambda: self.now)
        self.client = self.app.test_client()
        self.transport = SimulatedTransport(self.client)

    def settings_file(self) -> Path:
        """Write the settings for commands that open the home by themselves; return the file."""
        path = self.folder / "server.toml"
        lines = [f"{name} = {json.dumps(str(getattr(self.config, name)))}" for name in ("home", "database_url")]
        path.write_text("\n".join(lines) + "\n")
        return path

    @property
    def services(self) -> Services:
        found = self.app.extensions[EXTENSION]
        assert isinstance(found, Services)
        return found

    @property
    def repository(self) -> Repository:
        return self.services.repository

    @property
    def enrollment(self) -> Enrollment:
        return self.services.enrollment

    @property
    def ingest(self) -> EventIngest:
        return self.services.ingest

    @property
    def engine(self) -> Engine:
        return self.services.engine

    @property
    def root(self) -> bytes:
        return (self.keys / "root.json").read_bytes()

    @property
    def token(self) -> str:
        return (self.config.home / TOKEN_FILE).read_text().strip()

    @property
    def publisher_headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def pass_time(self, **parts: float) -> None:
        self.now += timedelta(**parts)

    def publish(
        self, bundle: Bundle, *, channel: str = "stable", expires_days: int = 365, **options: Any
    ) -> Publication:
        return publish(
            bundle.folder,
            channel=channel,
            keys=self.keys,
            target=LocalTarget(self.repository, max_file_bytes=10_000_000),
            expires_days=expires_days,
            **options,
            clock=lambda: self.now,
        )

    def updater(
        self, home: Path, *, prove: Prove = lambda _: None, channel: str = "stable", device_id: str = "device-1"
    ) -> Updater:
        return Updater(
            home=home,
            trusted_root=self.root,
            server_url=URL,
            channel=channel,
            device_id=device_id,
            transport=self.transport,
            prove=prove,
            clock=lambda: self.now,
        )

    def close(self) -> None:
        self.services.close()
