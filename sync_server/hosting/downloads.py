"""Large answers: how many a worker sends at once, and how long a client may take for each part of one."""

import json
import socket
import threading
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from werkzeug.wsgi import ClosingIterator

SMALL_BYTES = 65_536
"""An answer up to this length fits into the socket's buffer (slow_clients.py), so sending it never waits for the client."""

# Long enough for others to end, short for a device that installs in the background.
_RETRY_AFTER_S = 30
_REFUSAL = json.dumps({"error": "the server sends as many files as it can now; try again later"}).encode()
_NO_BODY = ("1", "204", "304")


class _Beginning:
    """Keeps the status and the headers of an answer until it is decided whether it is sent."""

    def __init__(self) -> None:
        self.status = ""
        self.headers: list[tuple[str, str]] = []

    def __call__(self, status: str, headers: list[tuple[str, str]], _error: Any = None, /) -> Callable[[bytes], object]:
        self.status, self.headers = status, headers
        return _no_write

    @property
    def is_small(self) -> bool:
        if self.status.startswith(_NO_BODY):
            return True
        lengths = [int(value) for name, value in self.headers if name.lower() == "content-length"]
        return bool(lengths) and lengths[0] <= SMALL_BYTES


def _no_write(_: bytes) -> None:
    raise TypeError("this server takes the body as an iterable, not by write()")


class BoundedDownloads:
    """Sends at most `most` large answers of `inner` at once; further ones are refused with 503 and Retry-After.

    A small answer is never refused, so a thread is left for it as long as `most` is below the number of threads.

    Args:
        inner: the application.
        most: how many large answers are sent at once.
        read_s: a client that takes nothing for so many seconds is left (TimeoutError from the server's write).
        on_refused: is called for each refusal.
    """

    def __init__(
        self, inner: WSGIApplication, *, most: int, read_s: float, on_refused: Callable[[], None] = lambda: None
    ) -> None:
        self._inner = inner
        self._free = threading.BoundedSemaphore(most)
        self._read_s = read_s
        self._on_refused = on_refused

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request (WSGI)."""
        beginning = _Beginning()
        body = self._inner(environ, beginning)
        if beginning.is_small or environ["REQUEST_METHOD"] == "HEAD":
            start_response(beginning.status, beginning.headers)
            return body
        if not self._free.acquire(blocking=False):
            ClosingIterator(body).close()
            self._on_refused()
            headers = [("Content-Type", "application/json"), ("Content-Length", str(len(_REFUSAL)))]
            headers += [("Retry-After", str(_RETRY_AFTER_S)), ("Cache-Control", "no-store")]
            start_response("503 Service Unavailable", headers)
            return [_REFUSAL]
        connection: socket.socket | None = environ.get("gunicorn.socket")
        if connection is not None:
            connection.settimeout(self._read_s)
        start_response(beginning.status, beginning.headers)
        return ClosingIterator(body, self._free.release)
