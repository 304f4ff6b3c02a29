"""A hostile server that drips one part of its answer, and how long a device's `node sync` is held by it."""

import contextlib
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.fleet.faults.table import Row
from benchmarks.fleet.server_process import ServerProcess
from edge_runtime.node_settings import read_settings, save_settings

GRACE_S = 5.0
"""How much later than its limit a process may end; the limit begins with its first request."""
_HOST = "127.0.0.1"
_HEAD = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
_WHOLE = _HEAD + b"Content-Length: 5\r\n\r\nhello"


@dataclass(frozen=True)
class Drip:
    """An answer that is whole once `start`, 200 times `piece` and `end` have come."""

    start: bytes
    piece: bytes
    end: bytes

    def pieces(self) -> list[bytes]:
        """Return the answer as it is sent."""
        return [self.start, *[self.piece] * 200, self.end]


DRIPS = {
    "status line": Drip(b"HTTP/1.1 200 ", b"O", b"K\r\nContent-Length: 5\r\n\r\nhello"),
    "header": Drip(_HEAD + b"X-Padding: ", b"x", b"\r\nContent-Length: 5\r\n\r\nhello"),
    "interim answers": Drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n", _WHOLE),
    "chunk size": Drip(_CHUNKED, b"0", b"5\r\nhello\r\n0\r\n\r\n"),
    "trailers": Drip(_CHUNKED + b"5\r\nhello\r\n0\r\n", b"X-Trailer: x\r\n", b"\r\n"),
    "body": Drip(_HEAD + b"Content-Length: 205\r\n\r\n", b"x", b"hello"),
}


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, drip: Drip, pause_s: float) -> None:
        super().__init__((_HOST, 0), _Handler)
        self.drip, self.pause_s, self.over = drip, pause_s, threading.Event()
        self.whole_answers = 0
        self.asked_at_s: float | None = None


class _Handler(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            self.request.recv(65_536)
            self.server.asked_at_s = self.server.asked_at_s or time.monotonic()
            for piece in self.server.drip.pieces():
                self.request.sendall(piece)
                if self.server.over.wait(self.server.pause_s):
                    return
            self.server.whole_answers += 1


@contextlib.contextmanager
def dripping_server(drip: Drip, *, pause_s: float) -> Iterator[_Server]:
    """Serve `drip` to every connection, a piece each `pause_s`; `server_address` and the counters tell about it."""
    with _Server(drip, pause_s) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()


def measure_dripping(*, limit_s: float) -> list[Row]:
    """Return in how many ways of dripping a sync ended within `limit_s`, its limit of one request, and `GRACE_S`."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "device"
        server = ServerProcess()
        try:
            server.enroll_home(home)
        finally:
            server.stop()
        seconds = [_seconds_of_sync(home, drip, limit_s=limit_s) for drip in DRIPS.values()]
    ended = sum(found <= limit_s + GRACE_S for found in seconds)
    return [
        Row(
            f"`node sync` against a server that drips ({', '.join(DRIPS)}): ends within its limit of {limit_s:g} s "
            f"+ {GRACE_S:g} s",
            f"{len(DRIPS)} of {len(DRIPS)}",
            f"{ended} of {len(DRIPS)} (longest {max(seconds):.1f} s)",
            met=ended == len(DRIPS),
        )
    ]


def _seconds_of_sync(home: Path, drip: Drip, *, limit_s: float) -> float:
    # The answer would be whole after four times the limit; who waits for it is ended after twice that.
    with dripping_server(drip, pause_s=limit_s / 50) as server:
        address = f"http://{_HOST}:{server.server_address[1]}"
        save_settings(home, msgspec.structs.replace(read_settings(home), server_url=address))
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                [sys.executable, "-m", "benchmarks.fleet.faults.limited_sync", str(home), str(limit_s)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=8 * limit_s + GRACE_S,
                check=False,
            )
        return time.monotonic() - (server.asked_at_s or float("-inf"))
