"""A real server under clients that take their time: headers and bodies byte by byte, answers that nobody reads or closes."""

import contextlib
import http.client
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

from benchmarks.fleet.plain_bundle import write_plain_bundle
from tests.support.child import pocketrec
from tests.support.source_tree import REPOSITORY

SLOW_CLIENTS = 60
# More than the kernel's buffers take from a server for a client that does not read.
FILE_BYTES = 8_000_000
FILE = "/v1/channels/stable/encoder.tflite"
SETTINGS = "workers = 1\nthreads = 4\nport = 0\n"
# Longer than any test waits: who is slow stays.
PATIENT = SETTINGS + "slow_header_s = 600\nslow_request_s = 600\nslow_transfer_s = 600\nslow_read_s = 600\n"
STRICT = SETTINGS + "slow_header_s = 2\nslow_request_s = 2\nslow_transfer_s = 600\nslow_read_s = 2\n"


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
    bundle = write_plain_bundle(folder / "bundle", encoder=os.urandom(FILE_BYTES))
    place = ("--keys", folder / "keys", "--store", folder / "home", "--no-deltas")
    assert pocketrec("publish", bundle.folder, *place).returncode == 0
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


HEADERS = [b"", b"G", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "]
BODY = b"POST /v1/devices/enroll HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\n"
BEGINNINGS = pytest.mark.parametrize("beginning", [*HEADERS, BODY], ids=["silent", "one byte", "header", "body"])


@BEGINNINGS
def test_slow_requests_occupy_no_thread(patient, beginning):
    """Slowloris: the honest client is answered while every slow one is still there."""
    with Dripping(patient, beginning, drip=b"a" if beginning else b"") as slow:
        for _ in range(5):
            honest_request(patient)
        assert slow.closed_by_server() == 0


# The waits have no end of their own: a server that never hangs up runs into the test's timeout.
@BEGINNINGS
def test_slow_requests_are_ended(strict, beginning):
    with Dripping(strict, beginning, drip=b"a" if beginning else b"") as slow:
        while slow.closed_by_server() < SLOW_CLIENTS:
            time.sleep(0.2)


def test_slow_body_is_ended(strict):
    # The beginning of it is there at once, so it has a thread.
    beginning = BODY.replace(b"4000", b"4000000") + b"{" * 20_000
    with socket.create_connection(strict, timeout=60) as client:
        client.sendall(beginning)
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


def test_a_body_that_comes_after_its_header_is_read(patient):
    with socket.create_connection(patient, timeout=60) as client:
        client.sendall(BODY)
        honest_request(patient)
        client.sendall(b"{" * 2_000)
        honest_request(patient)
        client.sendall(b"{" * 2_000)
        assert client.recv(10_000).startswith(b"HTTP/1.1 400")


def test_a_client_that_asks_before_it_sends_a_body_is_answered(patient):
    with socket.create_connection(patient, timeout=60) as client:
        client.sendall(BODY.replace(b"Host: x", b"Host: x\r\nExpect: 100-continue"))
        assert client.recv(10_000).startswith(b"HTTP/1.1 100")


def test_clients_that_do_not_close_after_their_answer_delay_nobody(patient):
    """The server is to close these connections; waiting for each client's own end would take 2 s of its main loop."""
    staying = []
    for _ in range(SLOW_CLIENTS):
        client = socket.create_connection(patient, timeout=60)
        client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        staying.append(client)
    # Each gets its answer while all of them stay; one after the other would take two minutes.
    assert all(client.recv(12) == b"HTTP/1.0 200" for client in staying)
    honest_request(patient)
    for client in staying:
        while client.recv(10_000):
            pass
        client.close()


def download(address):
    """Return the status and the length of a whole download, and the Retry-After."""
    with contextlib.closing(http.client.HTTPConnection(*address, timeout=120)) as connection:
        connection.request("GET", FILE)
        answer = connection.getresponse()
        return answer.status, len(answer.read()), answer.headers["Retry-After"]


@contextlib.contextmanager
def readers_of_nothing(address, count):
    """Clients that ask for a file and read nothing."""
    clients = []
    for _ in range(count):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.connect(address)
        client.sendall(f"GET {FILE} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        clients.append(client)
    try:
        yield clients
    finally:
        for client in clients:
            client.close()


def test_readers_of_nothing_leave_threads_for_others(patient):
    with readers_of_nothing(patient, 200):
        for _ in range(20):
            honest_request(patient)
        status, _, retry_after = download(patient)
        assert status == 503 and int(retry_after) > 0
    # They are gone: a download is complete again.
    while (got := download(patient))[0] == 503:
        time.sleep(0.2)
    assert got[:2] == (200, FILE_BYTES)


def test_readers_of_nothing_are_ended(strict):
    with readers_of_nothing(strict, SLOW_CLIENTS):
        # Ends when the server has left those who hold its downloads; they are still here.
        while (got := download(strict))[0] == 503:
            time.sleep(0.2)
        assert got[:2] == (200, FILE_BYTES)
