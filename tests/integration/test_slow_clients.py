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
SETTINGS = "workers = 1\nthreads = 4\nport = 0\n"
# Longer than any test waits: who is slow stays.
PATIENT = SETTINGS + "slow_header_s = 600\nslow_request_s = 600\nslow_transfer_s = 600\n"
STRICT = SETTINGS + "slow_header_s = 2\nslow_request_s = 2\nslow_transfer_s = 4\n"


@contextlib.contextmanager
def serving(folder, settings):
    """A server with four threads: five slow clients would occupy it, if they could. Yields its host and port."""
    assert pocketrec("keys", "init", "--dir", folder / "keys").returncode == 0
    (folder / "server.toml").write_text(settings)
    places = {"--home": folder / "home", "--keys": folder / "keys", "--config": folder / "server.toml"}
    words = [str(word) for option in places.items() for word in option]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "pocketrec", "serve", *words, "--json"],
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


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("patient"), PATIENT) as address:
        yield address


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("strict"), STRICT) as address:
        yield address


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


def honest_request(address):
    with urllib.request.urlopen(f"http://{address[0]}:{address[1]}/healthz", timeout=60) as answer:
        assert json.load(answer) == {"status": "up"}


BEGINNINGS = pytest.mark.parametrize("beginning", [b"", b"G", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "])


@BEGINNINGS
def test_slow_headers_occupy_no_thread(patient, beginning):
    """Slowloris: the honest client is answered while every slow one is still there."""
    with Dripping(patient, beginning, drip=b"a" if beginning else b"") as slow:
        for _ in range(5):
            honest_request(patient)
        assert slow.closed_by_server() == 0


# The waits have no end of their own: a server that never hangs up runs into the test's timeout.
@BEGINNINGS
def test_slow_headers_are_ended(strict, beginning):
    with Dripping(strict, beginning, drip=b"a" if beginning else b"") as slow:
        while slow.closed_by_server() < SLOW_CLIENTS:
            time.sleep(0.2)


def test_slow_body_is_ended(strict):
    header = b"POST /v1/devices/enroll HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\n"
    with socket.create_connection(strict, timeout=60) as client:
        client.sendall(header)
        with pytest.raises(OSError):
            while True:
                client.sendall(b"{")
                time.sleep(0.2)
    honest_request(strict)


def test_requests_that_come_in_pieces_or_together_are_answered(patient):
    client = socket.create_connection(patient, timeout=60)
    for piece in (b"GET /healthz HT", b"TP/1.1\r\nHost: x\r", b"\n\r\n"):
        client.sendall(piece)
        time.sleep(0.3)
    assert client.recv(10_000).startswith(b"HTTP/1.1 200")
    client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
    answers = b""
    while answers.count(b"HTTP/1.1 200") < 2:
        piece = client.recv(10_000)
        assert piece, "the server hung up after one answer"
        answers += piece
    client.close()
