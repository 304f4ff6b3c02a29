"""How `/healthz` answers while many connections ask for a large file and read nothing of it."""

import contextlib
import hashlib
import http.client
import os
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np

from benchmarks.fleet.faults.proxied_server import proxied_server
from benchmarks.fleet.faults.table import Row
from benchmarks.fleet.plain_bundle import write_plain_bundle
from benchmarks.fleet.server_process import ServerProcess
from benchmarks.fleet.sync_load import publish_to
from edge_runtime.contract.release import file_target

_PATIENCE_S = 2.0
"""A load balancer's usual patience with a probe."""
_PAUSE_S = 0.05
_SETUP_S = 60.0
_REQUIRED_SHARE = 0.99


@dataclass
class Probes:
    """The probes of one measurement: how many were sent, and the seconds of those that were answered."""

    sent: int = 0
    answered_s: list[float] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Return the share that was answered."""
        return len(self.answered_s) / max(self.sent, 1)

    @property
    def p99_ms(self) -> float:
        """Return the 99th percentile of the answered ones in milliseconds."""
        return float(np.percentile(self.answered_s, 99) * 1_000) if self.answered_s else float("inf")


def measure_slow_readers(
    *, connections: int, proxied_connections: int, seconds: float, file_bytes: int = 8_000_000
) -> list[Row]:
    """Return the share of probes that are answered under connections that read nothing, without and with nginx."""
    encoder = os.urandom(file_bytes)
    server = ServerProcess()
    try:
        plain = _measured(server, encoder, f"http://127.0.0.1:{server.port}", connections, seconds)
    finally:
        server.stop()
    # Each reader and the probe at once.
    with proxied_server(connections=2 * proxied_connections) as both:
        address = f"https://127.0.0.1:{both.tls_port}"
        proxied = _measured(both.server, encoder, address, proxied_connections, seconds)
    return [
        _row("`pocketrec serve`", connections, plain),
        _row("the same behind deploy/nginx.conf", proxied_connections, proxied),
    ]


def _row(of: str, connections: int, found: Probes) -> Row:
    return Row(
        f"`/healthz` of {of} under {connections} connections that read nothing: probes answered, p99",
        f"≥ {_REQUIRED_SHARE:.0%}",
        f"{found.share:.1%} of {found.sent}, {found.p99_ms:.0f} ms",
        met=found.share >= _REQUIRED_SHARE,
    )


def _measured(server: ServerProcess, encoder: bytes, address: str, connections: int, seconds: float) -> Probes:
    publish_to(server, write_plain_bundle(server.folder / "bundle", encoder=encoder))
    sha256 = hashlib.sha256(encoder).hexdigest()
    folder, _, name = file_target(sha256).rpartition("/")
    with _readers(address, f"/v1/tuf/targets/{folder}/{sha256}.{name}", connections):
        return _probes(address, seconds=seconds)


@contextlib.contextmanager
def _readers(address: str, path: str, connections: int) -> Iterator[None]:
    """Ask for a file over so many connections, and read nothing of the answers."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    parts = urlsplit(address)
    with contextlib.ExitStack() as stack:
        for _ in range(connections):
            one = stack.enter_context(socket.socket())
            # The smallest that the system permits: what it takes in by itself would count as read.
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            one.settimeout(_SETUP_S)
            one.connect((parts.hostname, parts.port))
            if parts.scheme == "https":
                one = stack.enter_context(_any_certificate().wrap_socket(one))
            one.sendall(request)
        yield


def _any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _probes(address: str, *, seconds: float) -> Probes:
    """Ask `/healthz` over and over, each time over a connection of its own, waiting `_PATIENCE_S` at most."""
    found, end = Probes(), time.monotonic() + seconds
    while time.monotonic() < end:
        found.sent += 1
        began = time.monotonic()
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(_connection(address)) as one:
            one.request("GET", "/healthz")
            if one.getresponse().status == 200:
                found.answered_s.append(time.monotonic() - began)
        time.sleep(_PAUSE_S)
    return found


def _connection(address: str) -> http.client.HTTPConnection:
    parts = urlsplit(address)
    host = parts.hostname or ""
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, parts.port, timeout=_PATIENCE_S)
    return http.client.HTTPSConnection(host, parts.port, timeout=_PATIENCE_S, context=_any_certificate())
