"""Load on a server over loopback: many persistent connections, one request at a time on each, one thread for all.

It uses plain sockets, because a client library would use more of the processor than the server under test.
"""

import selectors
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

_READ_BYTES = 1 << 16
_GIVE_UP_S = 30.0


@dataclass
class LoadResult:
    """What came back: answers by status, seconds from a request to the end of its answer, bytes of all answers."""

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)
    answer_bytes: int = 0
    broken: int = 0

    @property
    def answers_per_second(self) -> float:
        """Return answers of any status per second."""
        return sum(self.statuses.values()) / self.seconds

    def percentile_ms(self, percent: float) -> float:
        """Return a percentile of the latency in milliseconds."""
        return float(np.percentile(self.latencies_s, percent) * 1_000)


class Exchange:
    """One connection to the server, on which one request is answered at a time.

    Args:
        port: where the server listens on the loopback interface.

    Raises:
        OSError: it does not.
    """

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=_GIVE_UP_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.sent_at_s = 0.0

    @property
    def body(self) -> bytes:
        """The body of the answer, once `take` gave its status."""
        return self.received.partition(b"\r\n\r\n")[2]

    def send(self, request: bytes) -> None:
        """Send a request.

        Raises:
            OSError: the connection broke.
        """
        self.received = b""
        self.sent_at_s = time.perf_counter()
        self.socket.sendall(request)

    def take(self) -> int | None:
        """Read what has come; return the status once the answer is whole.

        Raises:
            OSError: the connection broke.
        """
        chunk = self.socket.recv(_READ_BYTES)
        if not chunk:
            raise ConnectionResetError
        self.received += chunk
        head, found, body = self.received.partition(b"\r\n\r\n")
        if not found:
            return None
        status = int(head[9:12])
        length = 0 if status in {204, 304} else _content_length(head)
        return status if len(body) >= length else None


def _content_length(head: bytes) -> int:
    _, _, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0])


def http_request(method: str, path: str, *, headers: dict[str, str] | None = None, body: bytes = b"") -> bytes:
    """Return the bytes of one request on a kept-open connection."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def run_load(port: int, next_request: Callable[[int], bytes | None], *, connections: int, seconds: float) -> LoadResult:
    """Send requests until the time is over or none is left.

    Args:
        port: where the server listens on the loopback interface.
        next_request: gives the next request of a connection (0 …); None ends that connection.
        connections: how many are open at the same time.
        seconds: how long.
    """
    result = LoadResult()
    selector = selectors.DefaultSelector()
    for number in range(connections):
        _start(selector, port, number, next_request)
    began = time.perf_counter()
    while selector.get_map() and time.perf_counter() - began < seconds:
        for key, _ in selector.select(timeout=1.0):
            number, connection = key.data
            try:
                status = connection.take()
            except OSError:
                result.broken += 1
                selector.unregister(connection.socket)
                connection.socket.close()
                continue
            if status is None:
                continue
            result.statuses[status] += 1
            result.latencies_s.append(time.perf_counter() - connection.sent_at_s)
            result.answer_bytes += len(connection.received)
            _send_next(selector, connection, next_request(number))
    result.seconds = time.perf_counter() - began
    for key in list(selector.get_map().values()):
        key.data[1].socket.close()
    selector.close()
    return result


def _start(
    selector: selectors.BaseSelector, port: int, number: int, next_request: Callable[[int], bytes | None]
) -> None:
    request = next_request(number)
    if request is None:
        return
    connection = Exchange(port)
    selector.register(connection.socket, selectors.EVENT_READ, (number, connection))
    connection.send(request)


def _send_next(selector: selectors.BaseSelector, connection: Exchange, request: bytes | None) -> None:
    if request is None:
        selector.unregister(connection.socket)
        connection.socket.close()
        return
    try:
        connection.send(request)
    except OSError:
        selector.unregister(connection.socket)
        connection.socket.close()
