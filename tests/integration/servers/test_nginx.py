"""The server behind the nginx of deploy/nginx.conf: slow clients stay in the proxy, files leave from the disk."""

import contextlib
import gzip
import hashlib
import http.client
import json
import os
import socket
import ssl

import pytest

from benchmarks.fleet.faults.proxied_server import proxied_server
from benchmarks.fleet.plain_bundle import write_plain_bundle
from benchmarks.fleet.sync_load import encode_batch, publish_to

SLOW_READERS = 500
# More than the kernel's buffers take for a client that does not read.
ENCODER = os.urandom(6_000_000)
DIGEST = hashlib.sha256(ENCODER).hexdigest()
SETTINGS = ['allowed_origins = ["https://shop.example.com"]']
FILE = "/v1/channels/stable/encoder.tflite"


class Proxied:
    """Asks a server through nginx, which speaks TLS for it."""

    def __init__(self, running):
        self.server, self.port = running.server, running.tls_port

    def ask(self, method, path, *, body=None, headers=None):
        """Return the answer and its body; any certificate is taken, as this one is signed by itself."""
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=300)
        with contextlib.closing(connection):
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return answer, answer.read()

    @contextlib.contextmanager
    def readers_of_nothing(self):
        """Many clients that ask for a file and read none of it."""
        context = ssl._create_unverified_context()
        clients = []
        try:
            for _ in range(SLOW_READERS):
                plain = socket.socket()
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                plain.settimeout(300)
                plain.connect(("127.0.0.1", self.port))
                clients.append(context.wrap_socket(plain))
                clients[-1].sendall(f"GET {FILE} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            yield
        finally:
            for client in clients:
                client.close()


@pytest.fixture(scope="module")
def proxied(tmp_path_factory):
    # All clients of this test have one address, and stay as long as it lasts.
    with proxied_server(connections=2 * SLOW_READERS, settings=SETTINGS) as running:
        publish_to(running.server, write_plain_bundle(tmp_path_factory.mktemp("proxied") / "bundle", encoder=ENCODER))
        yield Proxied(running)


def test_feedback_is_stored_while_hundreds_read_nothing(proxied):
    (device,) = proxied.server.enroll(1)
    headers = {"Authorization": f"Bearer {device.credential}", "Content-Type": "application/json"}
    with proxied.readers_of_nothing():
        for number in range(20):
            answer, _ = proxied.ask("GET", "/healthz")
            assert answer.status == 200
            body = encode_batch(device.device_id, number * 100 + 1)
            answer, said = proxied.ask("POST", "/v1/feedback", body=body, headers=headers)
            assert answer.status == 200, said
        answer, content = proxied.ask("GET", FILE)
        assert (answer.status, content == ENCODER) == (200, True)
    assert proxied.server.stored() == {device.device_id: list(range(1, 2_001))}


@pytest.mark.parametrize("path", [FILE, f"{FILE}?sha256={DIGEST}", f"/v1/tuf/targets/files/{DIGEST}.{DIGEST}"])
def test_files_leave_from_the_disk_with_their_headers(proxied, path):
    answer, content = proxied.ask("GET", path)
    assert (answer.status, hashlib.sha256(content).hexdigest()) == (200, DIGEST)
    assert answer.headers["Cross-Origin-Resource-Policy"] and answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == ("no-cache" if path == FILE else "public, max-age=31536000, immutable")
    assert "X-Accel-Redirect" not in answer.headers
    part, rest = proxied.ask("GET", path, headers={"Range": "bytes=1000-"})
    assert (part.status, rest == ENCODER[1_000:]) == (206, True)


def test_files_are_packed_for_those_who_take_it_and_read_by_other_sites(proxied):
    path = "/v1/channels/stable/catalogue.sqlite"
    plain, content = proxied.ask("GET", path, headers={"Accept-Encoding": "identity"})
    headers = {"Accept-Encoding": "gzip", "Origin": "https://shop.example.com"}
    packed, data = proxied.ask("GET", path, headers=headers)
    assert plain.headers["Content-Encoding"] is None and packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(data) == content and len(data) < len(content)
    assert packed.headers["Access-Control-Allow-Origin"] == "https://shop.example.com"
    for answer in (plain, packed):
        assert {"Accept-Encoding", "Origin"} <= set(", ".join(answer.headers.get_all("Vary")).split(", "))


@pytest.mark.parametrize("path", [f"/stored-files/{DIGEST[:2]}/{DIGEST}", "/stored-files/", "/metrics"])
def test_what_is_inside_cannot_be_asked_for(proxied, path):
    assert proxied.ask("GET", path)[0].status == 404


def test_a_large_body_reaches_the_server_from_publishers_alone(proxied):
    body = bytes(3_000_000)
    refused, _ = proxied.ask("POST", "/v1/feedback", body=body)
    assert refused.status == 413
    path = f"/v1/publish/files/{hashlib.sha256(body).hexdigest()}"
    token = (proxied.server.config.home / "publisher.token").read_text().strip()
    stored, said = proxied.ask("PUT", path, body=body, headers={"Authorization": f"Bearer {token}"})
    assert (stored.status, json.loads(said)) == (201, {"stored_bytes": len(body)})
