"""How `/healthz` answers while many connections ask for a large file and read nothing of it."""

import contextlib
import hashlib
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import urllib3

from benchmarks.fleet.faults.table import Row
from benchmarks.fleet.plain_bundle import write_plain_bundle
from benchmarks.fleet.server_process import ServerProcess
from benchmarks.fleet.sync_load import publish_to
from edge_runtime.contract.release import file_target

_PATIENCE_S = 2.0
"""A load balancer's usual patience with a probe."""
_PAUSE_S = 0.05
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


def measure_slow_readers(*, connections: int, seconds: float, file_bytes: int = 8_000_000) -> list[Row]:
    """Return the share of probes that a server answers under `connections` that read nothing."""
    encoder = os.urandom(file_bytes)
    sha256 = hashlib.sha256(encoder).hexdigest()
    folder, _, name = file_target(sha256).rpartition("/")
    server = ServerProcess()
    try:
        publish_to(server, write_plain_bundle(server.folder / "bundle", encoder=encoder))
        with readers(server.port, f"/v1/tuf/targets/{folder}/{sha256}.{name}", connections):
            found = probe(server.port, seconds=seconds)
    finally:
        server.stop()
    return [
        Row(
            f"`/healthz` of `pocketrec serve` under {connections} connections that read nothing: probes answered, p99",
            f"≥ {_REQUIRED_SHARE:.0%}",
            f"{found.share:.1%} of {found.sent}, {found.p99_ms:.0f} ms",
            met=found.share >= _REQUIRED_SHARE,
        )
    ]


@contextlib.contextmanager
def readers(port: int, path: str, connections: int) -> Iterator[None]:
    """Ask for a file over so many connections, and read nothing of the answers."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    with contextlib.ExitStack() as stack:
        for _ in range(connections):
            one = stack.enter_context(socket.socket())
            # The smallest that the system permits: what it takes in by itself would count as read.
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            one.connect(("127.0.0.1", port))
            one.sendall(request)
        yield


def probe(port: int, *, seconds: float) -> Probes:
    """Ask `/healthz` over and over, each time over a connection of its own, waiting `_PATIENCE_S` at most."""
    found, end = Probes(), time.monotonic() + seconds
    while time.monotonic() < end:
        found.sent += 1
        began = time.monotonic()
        with contextlib.suppress(urllib3.exceptions.HTTPError):
            answer = urllib3.request("GET", f"http://127.0.0.1:{port}/healthz", timeout=_PATIENCE_S, retries=False)
            if answer.status == 200:
                found.answered_s.append(time.monotonic() - began)
        time.sleep(_PAUSE_S)
    return found
