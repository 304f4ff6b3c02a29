"""Requests and bytes of one sync of a device that is up to date, counted in the device's own code."""

import contextlib
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.fleet.server_process import ServerProcess
from edge_runtime.updates.http_transport import Answer, HttpTransport
from edge_runtime.updates.updater import Updater


@dataclass(frozen=True)
class IdleSyncFigures:
    """Requests of one sync, and the bytes of requests and answers, headers counted."""

    requests: int
    sent_bytes: int
    received_bytes: int


@dataclass
class _CountingTransport:
    inner: HttpTransport = field(default_factory=HttpTransport)
    requests: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0

    @contextlib.contextmanager
    def open(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Iterator[Answer]:
        self.requests += 1
        path = urllib.parse.urlsplit(url).path
        self.sent_bytes += len(f"{method} {path} HTTP/1.1\r\n") + _header_bytes(headers or {}) + len(body or b"")
        with self.inner.open(method, url, headers=headers, body=body) as answer:
            self.received_bytes += len("HTTP/1.1 200 OK\r\n\r\n") + _header_bytes(answer.headers)
            yield Answer(answer.status, answer.headers, self._counted(answer.chunks))

    def _counted(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.received_bytes += len(chunk)
            yield chunk


def _header_bytes(headers: Mapping[str, str]) -> int:
    return sum(len(name) + len(value) + 4 for name, value in headers.items())


def measure_idle_sync(server: ServerProcess, home: Path) -> IdleSyncFigures:
    """Install the published bundle, then sync again and count."""
    transport = _CountingTransport()
    root = (server.keys / "root.json").read_bytes()

    def sync() -> None:
        Updater(
            home=home,
            trusted_root=root,
            server_url=server.url,
            channel="stable",
            device_id="device-000000",
            transport=transport,
            prove=lambda _: None,
        ).update()

    sync()
    before = replace(transport)
    sync()
    return IdleSyncFigures(
        requests=transport.requests - before.requests,
        sent_bytes=transport.sent_bytes - before.sent_bytes,
        received_bytes=transport.received_bytes - before.received_bytes,
    )
