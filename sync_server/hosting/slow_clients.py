"""A gunicorn worker whose threads slow clients cannot occupy.

A connection gets a thread only when the whole header of its request has arrived. Until then it waits in the main loop, which
costs almost nothing. A request that has a thread is ended when it takes longer than its limit.
"""

import contextlib
import errno
import socket
import time
from dataclasses import dataclass
from functools import partial
from selectors import EVENT_READ
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

TRANSFERS = ("/v1/publish/", "/v1/tuf/targets/")
"""Paths under which large files are uploaded and downloaded."""

# How late an incomplete header is looked at again.
_LOOK_EVERY_S = 0.1
# Far more than the header of any request here; gunicorn checks what is longer.
_MAX_HEADER_BYTES = 65_536


@dataclass(frozen=True)
class SlowLimits:
    """The longest time in seconds of a request's header, of a whole request, and of one that moves a large file."""

    header_s: float = 10.0
    request_s: float = 30.0
    transfer_s: float = 900.0


class DeadlineWorker(ThreadWorker):
    """The threaded worker with deadlines."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._limits: SlowLimits = getattr(self.app, "limits", SlowLimits())
        # Connections with an incomplete header -> whether the poller watches them, which it does until the first bytes.
        self._arriving: dict[TConn, bool] = {}
        # When the time of these connections is over.
        self._ends: dict[TConn, float] = {}
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
        self.nr_conns += 1
        self._await_header(TConn(self.cfg, client, address, listener.getsockname()))

    def on_client_socket_readable(self, conn: TConn, client: socket.socket) -> None:
        """Wait for the header of the next request on a connection that was kept alive."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._await_header(conn)

    def _await_header(self, conn: TConn) -> None:
        conn.sock.setblocking(False)
        self._ends[conn] = time.monotonic() + self._limits.header_s
        self._arriving[conn] = True
        self.poller.register(conn.sock, EVENT_READ, partial(self._on_first_bytes, conn))

    def _on_first_bytes(self, conn: TConn, client: socket.socket) -> None:
        self.poller.unregister(client)
        self._arriving[conn] = False
        self._look(conn)

    def _look(self, conn: TConn) -> None:
        try:
            header = conn.sock.recv(_MAX_HEADER_BYTES, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            header = b""
        if not header:
            self._drop(conn)
        elif b"\r\n\r\n" in header or len(header) >= _MAX_HEADER_BYTES or self.cfg.is_ssl:
            del self._arriving[conn], self._ends[conn]
            conn.data_ready = True
            self.enqueue_req(conn)

    def _drop(self, conn: TConn) -> None:
        del self._ends[conn]
        if self._arriving.pop(conn):
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
        return super().handle_request(req, conn)
