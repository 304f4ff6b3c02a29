"""A gunicorn worker whose threads slow clients cannot occupy.

A connection gets a thread only when the whole header of its request and the beginning of its body have arrived. Until then it
waits in the main loop, which costs almost nothing. A request that has a thread is ended when it takes longer than its limit.
downloads.py bounds the threads that send large answers.
"""

import contextlib
import errno
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from selectors import EVENT_READ
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

TRANSFERS = ("/v1/publish/", "/v1/tuf/targets/")
"""Paths under which large files are uploaded and downloaded."""

# How late an incomplete header is looked at again.
_LOOK_EVERY_S = 0.1
# More than the header of any request here (gunicorn checks what is longer) and than a usual batch of feedback, packed. Little
# enough for the kernel to hold it for a client that is not read.
_LOOK_BYTES = 16_384
_HEADER_END = b"\r\n\r\n"
_BODY_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,12})[ \t]*\r\n", re.IGNORECASE)
# A client that announces this sends its body only when a thread has asked for it.
_WAITS_FOR_ANSWER = re.compile(rb"\r\nexpect:", re.IGNORECASE)
# The kernel doubles it for its own needs: SMALL_BYTES (downloads.py) of an answer fit at once. It also bounds the memory of a
# client that does not read, and so the speed to one client: some 150 KB in each round trip.
_SEND_BUFFER_BYTES = 131_072
# How long the rest of what a client sends is read after the last answer, so that its network does not drop that answer.
_LINGER_S = 2.0


@dataclass(frozen=True)
class SlowLimits:
    """The longest time in seconds of a request's header, of a whole request, and of one that moves a large file."""

    header_s: float = 10.0
    request_s: float = 30.0
    transfer_s: float = 900.0


class _Connection(TConn):
    """A connection whose graceful end is the worker's: gunicorn's own waits for the client in the main loop."""

    def __init__(self, leave: Callable[[TConn], None], *arguments: Any) -> None:
        super().__init__(*arguments)
        self._leave = leave

    def close(self, graceful: bool = False) -> None:
        """Close it, after what the client still sends when `graceful`."""
        if graceful:
            self._leave(self)
        else:
            super().close()


def wanted_bytes(begun: bytes) -> int:
    """Return how many bytes of a request that began like this must be there before it gets a thread."""
    header, found, _ = begun.partition(_HEADER_END)
    if not found:
        return _LOOK_BYTES
    length = _BODY_LENGTH.search(header + b"\r\n")
    if length is None or _WAITS_FOR_ANSWER.search(header):
        return len(header)
    return min(len(header) + len(_HEADER_END) + int(length[1]), _LOOK_BYTES)


class DeadlineWorker(ThreadWorker):
    """The threaded worker with deadlines."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._limits: SlowLimits = getattr(self.app, "limits", SlowLimits())
        # Connections whose request has not begun to arrive as it must -> whether the poller watches them.
        self._arriving: dict[TConn, bool] = {}
        # Those of them whose header is there, but not the beginning of their body.
        self._sending_body: set[TConn] = set()
        # When the time of these connections is over.
        self._ends: dict[TConn, float] = {}
        # Connections whose last answer was sent, and when they are closed.
        self._leaving: dict[TConn, float] = {}
        # Connections with a thread, and when their time is over.
        self._busy: dict[TConn, float] = {}

    def accept(self, listener: socket.socket) -> None:
        """Take a new connection and wait for its header."""
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            # Connections that end give theirs back; the listener stays readable, so without a pause this would spin.
            time.sleep(_LOOK_EVERY_S)
            return
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self.nr_conns += 1
        self._await_header(_Connection(self._leave, self.cfg, client, address, listener.getsockname()))

    def on_client_socket_readable(self, conn: TConn, client: socket.socket) -> None:
        """Wait for the header of the next request on a connection that was kept alive."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._await_header(conn)

    def _await_header(self, conn: TConn) -> None:
        conn.sock.setblocking(False)
        self._ends[conn] = time.monotonic() + self._limits.header_s
        self._watch(conn)

    def _watch(self, conn: TConn) -> None:
        self._arriving[conn] = True
        self.poller.register(conn.sock, EVENT_READ, partial(self._on_bytes, conn))

    def _on_bytes(self, conn: TConn, client: socket.socket) -> None:
        self.poller.unregister(client)
        self._arriving[conn] = False
        self._look(conn)

    def _look(self, conn: TConn) -> None:
        try:
            begun = conn.sock.recv(_LOOK_BYTES, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            begun = b""
        if not begun:
            self._drop(conn)
            return
        wanted = 0 if self.cfg.is_ssl else wanted_bytes(begun)
        if len(begun) >= wanted:
            self._give_thread(conn)
        elif _HEADER_END in begun and conn not in self._sending_body:
            self._await_body(conn, wanted)

    def _await_body(self, conn: TConn, wanted: int) -> None:
        self._sending_body.add(conn)
        self._ends[conn] = time.monotonic() + self._limits.request_s
        # The poller reports the connection when so many bytes are there, and not with each of them.
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)
        self._watch(conn)

    def _give_thread(self, conn: TConn) -> None:
        self._forget(conn)
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        conn.data_ready = True
        self.enqueue_req(conn)

    def _forget(self, conn: TConn) -> bool:
        """Wait for this connection no longer; return whether the poller watches it."""
        del self._ends[conn]
        self._sending_body.discard(conn)
        return self._arriving.pop(conn)

    def _leave(self, conn: TConn) -> None:
        """Close a connection after its last answer, without waiting for its client here."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            conn.close()
            return
        self.nr_conns += 1
        conn.sock.setblocking(False)
        self._leaving[conn] = time.monotonic() + _LINGER_S
        self.poller.register(conn.sock, EVENT_READ, partial(self._on_leftover, conn))

    def _on_leftover(self, conn: TConn, client: socket.socket) -> None:
        try:
            leftover = client.recv(_LOOK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            leftover = b""
        if not leftover:
            self._left(conn)

    def _left(self, conn: TConn) -> None:
        del self._leaving[conn]
        self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()

    def _drop(self, conn: TConn) -> None:
        if self._forget(conn):
            self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()

    def wait_for_and_dispatch_events(self, timeout: float | None) -> None:
        """Handle what has arrived, then end connections that take too long."""
        waiting = any(not watched for watched in self._arriving.values())
        super().wait_for_and_dispatch_events(_LOOK_EVERY_S if waiting else timeout)
        now = time.monotonic()
        for conn, watched in list(self._arriving.items()):
            if self._ends[conn] < now:
                self._drop(conn)
            elif not watched:
                self._look(conn)
        for conn, end in list(self._leaving.items()):
            if end < now:
                self._left(conn)
        for conn, end in list(self._busy.items()):
            if end < now:
                with contextlib.suppress(OSError):
                    # The thread that reads or writes on this socket gets an error and ends.
                    conn.sock.shutdown(socket.SHUT_RDWR)

    def handle(self, conn: TConn) -> Any:
        """Serve a connection, in a thread."""
        self._busy[conn] = time.monotonic() + self._limits.request_s
        try:
            return super().handle(conn)
        finally:
            self._busy.pop(conn, None)

    def handle_request(self, req: Any, conn: TConn) -> Any:
        """Answer one request after its header was read."""
        if req.path.startswith(TRANSFERS):
            self._busy[conn] = time.monotonic() + self._limits.transfer_s
        try:
            return super().handle_request(req, conn)
        except TimeoutError:
            # A client that does not read what it asked for (downloads.py).
            return False
