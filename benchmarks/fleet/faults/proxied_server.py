"""A server behind the nginx of deploy/nginx.conf, on free ports, with a certificate that it signed itself."""

import contextlib
import datetime
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchmarks.fleet.local_servers import LocalNginx, free_port
from benchmarks.fleet.server_process import ServerProcess
from edge_runtime.contract.errors import ConfigError

_CONFIG = Path(__file__).parents[3] / "deploy" / "nginx.conf"
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@dataclass(frozen=True)
class ProxiedServer:
    """The server itself, and the port where nginx speaks TLS for it."""

    server: ServerProcess
    tls_port: int


@contextlib.contextmanager
def proxied_server(*, connections: int, settings: Sequence[str] = ()) -> Iterator[ProxiedServer]:
    """Run both; the one address of all clients may have so many connections, for as long as it likes.

    Args:
        connections: how many.
        settings: further lines of the server's settings.

    Raises:
        ConfigError: nginx is not installed, one of both does not start, or deploy/nginx.conf has other places.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pocketrec-proxied-")))
        server = ServerProcess(settings=["trusted_proxies = 1", 'accel_redirect = "/stored-files/"', *settings])
        stack.callback(server.stop)
        _write_certificate(folder)
        port = free_port()
        temporary = "".join(f"    {kind}_temp_path {folder}/{kind};\n" for kind in _TEMPORARY)
        changes = {
            # Without root there is only one user.
            "user www-data;": "user root;" if os.geteuid() == 0 else "",
            "/run/nginx.pid": str(folder / "nginx.pid"),
            "http {\n": f"http {{\n{temporary}",
            "listen 80;": f"listen 127.0.0.1:{free_port()};",
            "listen 443 ": f"listen 127.0.0.1:{port} ",
            r"127\.0\.0\.1:8080": f"127.0.0.1:{server.port}",
            "/etc/pocketrec/tls": str(folder),
            "/var/lib/pocketrec/server/": f"{server.config.home}/",
            "limit_conn addresses 100;": f"limit_conn addresses {connections};",
            "send_timeout 20s;": "send_timeout 3600s;",
        }
        nginx = LocalNginx(_adapted(changes), port=port)
        stack.callback(nginx.stop)
        yield ProxiedServer(server, port)


def _adapted(changes: Mapping[str, str]) -> str:
    """Return deploy/nginx.conf with the places of this machine; each of them must stand in the file."""
    text = _CONFIG.read_text(encoding="utf-8")
    for shipped, here in changes.items():
        text, count = re.subn(shipped, here, text)
        if not count:
            raise ConfigError(f"deploy/nginx.conf has no {shipped!r}; adapt {__name__}")
    return text


def _write_certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    signed = made.sign(key, hashes.SHA256())
    (folder / "fullchain.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "privkey.pem").write_bytes(key.private_bytes(*form))
