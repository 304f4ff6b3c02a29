"""A real server under clients that take their time: headers and bodies byte by byte, and answers that nobody reads."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import pytest

from tests.support.child import pocketrec
from tests.support.source_tree import REPOSITORY

SLOW_CLIENTS = 60
SETTINGS = "workers = 1\nthreads = 4\nslow_header_s = 2\nslow_request_s = 2\nslow_transfer_s = 4\nport = 0\n"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A server with four threads: five slow clients would occupy it, if they could."""
    folder = tmp_path_factory.mktemp("slow")
    assert pocketrec("keys", "init", "--dir", folder / "keys").returncode == 0
    (folder / "server.toml").write_text(SETTINGS)
    words = (
        "serve",
        "--home",
        folder / "home",
        "--keys",
        folder / "keys",
        "--config",
        folder / "server.toml",
        "--json",
    )
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "pocketrec", *map(str, words)],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    line = process.stdout.readline()
    assert line, (folder / "log").read_text()
    host, _, port = json.loads(line)["url"].removeprefix("http://").partition(":")
    yield host, int(port)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    process.stdout.close()
    assert "Traceback" not in (folder / "log").read_text()


class Dripping:
    """Many clients that send the beginning of a request, then a byte now and then."""

    def __init__(self, address, beginning, drip=b"a"):
        self.sockets = []
        for _ in range(SLOW_CLIENTS):
            client = socket.create_connection(address, timeout=10)
            client.sendall(beginning)
            self.sockets.append(client)
        self.drip, self.stopped = drip, threading.Event()
        self.thread = threading.Thread(target=self._go)

    def _go(self):
        while not self.stopped.wait(0.2):
            for client in self.sockets:
                with contextlib.suppress(OSError):
                    client.send(self.drip)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join()
        for client in self.sockets:
            client.close()

    def closed_by_server(self):
        closed = 0
        for client in self.sockets:
            client.setblocking(False)
            try:
                closed += client.recv(100_000) == b""
            except BlockingIOError:
                continue
            except OSError:
                closed += 1
        return closed


def honest_request_s(address):
    started = time.monotonic()
    with urllib.request.urlopen(f"http://{address[0]}:{address[1]}/healthz", timeout=30) as answer:
        assert json.load(answer) == {"status": "up"}
    return time.monotonic() - started


@pytest.mark.parametrize("beginning", [b"", b"G", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_slow_headers_occupy_no_thread_and_are_ended(address, beginning):
    """Slowloris: the honest client is answered at once, not after the others' deadlines."""
    with Dripping(address, beginning, drip=b"a" if beginning else b"") as slow:
        assert max(honest_request_s(address) for _ in range(5)) < 1.5
        deadline = time.monotonic() + 20
        while slow.closed_by_server() < SLOW_CLIENTS:
            assert time.monotonic() < deadline, "slow clients are ended"
            time.sleep(0.2)


def test_slow_body_is_ended(address):
    header = b"POST /v1/devices/enroll HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\n"
    client = socket.create_connection(address, timeout=20)
    client.sendall(header)
    started = time.monotonic()
    with contextlib.suppress(OSError):
        while time.monotonic() - started < 15:
            client.sendall(b"{")
            time.sleep(0.2)
    assert time.monotonic() - started < 10, "the server hung up"
    client.close()
    assert honest_request_s(address) < 5


def test_requests_that_come_in_pieces_or_together_are_answered(address):
    client = socket.create_connection(address, timeout=10)
    for piece in (b"GET /healthz HT", b"TP/1.1\r\nHost: x\r", b"\n\r\n"):
        client.sendall(piece)
        time.sleep(0.3)
    assert client.recv(10_000).startswith(b"HTTP/1.1 200")
    client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
    answers, deadline = b"", time.monotonic() + 10
    while answers.count(b"HTTP/1.1 200") < 2 and time.monotonic() < deadline:
        answers += client.recv(10_000)
    assert answers.count(b"HTTP/1.1 200") == 2
    client.close()
