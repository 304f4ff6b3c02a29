"""The server behind the nginx of deploy/nginx.conf: slow clients stay in the proxy, files leave from the disk."""

import contextlib
import datetime
import gzip
import hashlib
import http.client
import json
import os
import re
import socket
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchmarks.fleet.local_servers import LocalNginx, free_port
from benchmarks.fleet.plain_bundle import write_plain_bundle
from benchmarks.fleet.server_process import ServerProcess
from benchmarks.fleet.sync_load import encode_batch, publish_to

CONFIG = Path(__file__).parents[3] / "deploy" / "nginx.conf"
SLOW_READERS = 500
# More than the kernel's buffers take for a client that does not read.
ENCODER = os.urandom(6_000_000)
DIGEST = hashlib.sha256(ENCODER).hexdigest()
SETTINGS = [
    "trusted_proxies = 1",
    'accel_redirect = "/stored-files/"',
    'allowed_origins = ["https://shop.example.com"]',
]
FILE = "/v1/channels/stable/encoder.tflite"


def write_certificate(folder):
    """Write a key and a certificate that it signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    signed = made.sign(key, hashes.SHA256())
    (folder / "fullchain.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "privkey.pem").write_bytes(key.private_bytes(*form))


def adapted(changes):
    """Return deploy/nginx.conf with the places of this machine; each of them must stand in the file."""
    text = CONFIG.read_text()
    for shipped, here in changes.items():
        text, count = re.subn(shipped, here, text)
        assert count, f"deploy/nginx.conf has no {shipped}"
    return text


class Proxied:
    """A server, and nginx before it."""

    def __init__(self, folder):
        self.server = ServerProcess(settings=SETTINGS)
        publish_to(self.server, write_plain_bundle(folder / "bundle", encoder=ENCODER))
        write_certificate(folder)
        self.port = free_port()
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "".join(f"    {kind}_temp_path {folder}/{kind};\n" for kind in kinds)
        changes = {
            # Without root there is only one user.
            "user www-data;": "user root;" if os.geteuid() == 0 else "",
            "/run/nginx.pid": str(folder / "nginx.pid"),
            "http {\n": f"http {{\n{temporary}",
            "listen 80;": f"listen 127.0.0.1:{free_port()};",
            "listen 443 ": f"listen 127.0.0.1:{self.port} ",
            r"127\.0\.0\.1:8080": f"127.0.0.1:{self.server.port}",
            "/etc/pocketrec/tls": str(folder),
            "/var/lib/pocketrec/server/": f"{self.server.config.home}/",
            # All clients of this test have one address, and stay as long as it lasts.
            "limit_conn addresses 100;": f"limit_conn addresses {2 * SLOW_READERS};",
            "send_timeout 20s;": "send_timeout 3600s;",
        }
        try:
            self.nginx = LocalNginx(adapted(changes), port=self.port)
        except BaseException:
            self.server.stop()
            raise

    def stop(self):
        self.nginx.stop()
        self.server.stop()

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
    running = Proxied(tmp_path_factory.mktemp("proxied"))
    yield running
    running.stop()


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
