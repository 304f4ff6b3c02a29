"""Speaks to a server's API for publishers and operators: uploads of a release, and JSON both ways."""

import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import urllib3
from tuf.api.metadata import Targets

from edge_runtime.contract.errors import ConfigError, DownloadError, HttpStatusError
from sync_server.errors import PublicationConflictError

TOKEN_VARIABLE = "POCKETREC_PUBLISH_TOKEN_FILE"  # noqa: S105  (the name of a variable that names a file)
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_MAX_ANSWER_BYTES = 10_000_000
_MAX_FILE_BYTES = 2_000_000_000


def read_token(path: Path) -> str:
    """Return the publisher's token from its file.

    Raises:
        ConfigError: the file cannot be read or is empty.
    """
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the publisher's token in {path}; the server's first start makes it") from error
    if not token:
        raise ConfigError(f"{path} is empty, expected the publisher's token")
    return token


class _Missing(msgspec.Struct):
    missing: list[str]


@dataclass(frozen=True)
class ApiClient:
    """A server over the network.

    Args:
        server_url: https address; plain http only to this machine, or when `allow_plain_http`.
        token: an API key; publishing and rollouts take the role publisher.
        allow_plain_http: send the token over an unprotected connection.
        timeout_s: longest wait between two bytes.

    Raises:
        ConfigError: the address is malformed or not protected.
    """

    server_url: str
    token: str = field(repr=False)
    allow_plain_http: bool = False
    timeout_s: float = 60.0
    _pool: urllib3.PoolManager = field(default_factory=urllib3.PoolManager, repr=False)

    def __post_init__(self) -> None:
        """Check the address."""
        parts = urllib.parse.urlsplit(self.server_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or "@" in self.server_url:
            raise ConfigError(f"expected a server address like https://updates.example.com, got {self.server_url!r}")
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK and not self.allow_plain_http:
            raise ConfigError(
                f"{self.server_url} is plain http, which shows the API key to the network; use https, or allow it with "
                "--allow-plain-http"
            )

    def metadata(self, name: str) -> bytes | None:
        """Return the metadata file `name` as devices get it, or None when there is none."""
        return self._found(f"tuf/{name}")

    def targets(self, role: str = Targets.type) -> bytes | None:
        """Return the targets of a role that the server serves; None before its first publication."""
        return self._found(f"publish/targets?role={role}")

    def read(self, sha256: str) -> bytes | None:
        """Return a published file as devices get it; None when the server lacks it."""
        return self._found(f"tuf/targets/{sha256}.{sha256}", max_bytes=_MAX_FILE_BYTES)

    def _found(self, path: str, *, max_bytes: int = _MAX_ANSWER_BYTES) -> bytes | None:
        try:
            return self._send("GET", path, max_bytes=max_bytes)
        except HttpStatusError as error:
            if error.status_code == 404:
                return None
            raise

    def missing(self, sha256s: list[str]) -> list[str]:
        """Return those of the files that the server lacks."""
        answer = self._send("POST", "publish/missing", body=msgspec.json.encode({"sha256": sha256s}))
        found: _Missing = self._decoded(answer, _Missing)
        return found.missing

    def put(self, sha256: str, content: BinaryIO, length: int) -> None:
        """Upload one file."""
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(length)}
        self._send("PUT", f"publish/files/{sha256}", body=content, headers=headers)

    def publish(self, targets: bytes, role: str = Targets.type) -> None:
        """Hand over the signed targets of a role."""
        self._send("POST", f"publish/targets?role={role}", body=targets)

    def publish_root(self, data: bytes) -> None:
        """Hand over a new root."""
        self._send("POST", "publish/root", body=data)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Return the JSON with which `/v1/PATH` answers `body`, which is sent as JSON.

        Raises:
            HttpStatusError, PublicationConflictError: the server refuses; the text is its own sentence.
            DownloadError: the server cannot be reached, or does not answer as agreed.
        """
        data = self._send(method, path, body=None if body is None else msgspec.json.encode(body))
        return self._decoded(data, Any)

    def _decoded(self, data: bytes, what: Any) -> Any:
        try:
            return msgspec.json.decode(data, type=what)
        except msgspec.MsgspecError as error:
            raise DownloadError(f"{self.server_url} did not answer as agreed; check the address") from error

    def _send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | BinaryIO | None = None,
        headers: dict[str, str] | None = None,
        max_bytes: int = _MAX_ANSWER_BYTES,
    ) -> bytes:
        try:
            response = self._pool.request(
                method,
                f"{self.server_url.rstrip('/')}/v1/{path}",
                body=body,
                headers={
                    "Authorization": f"Bearer {self.token}",
                    "Content-Type": "application/json",
                    "Accept-Encoding": "identity",
                    **(headers or {}),
                },
                timeout=urllib3.Timeout(self.timeout_s),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            try:
                data = response.read(max_bytes)
            finally:
                response.close()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise DownloadError(
                f"cannot reach {self.server_url} ({type(error).__name__}); the old release is still served, try again"
            ) from error
        if not 200 <= response.status < 300:
            raise _refusal(response.status, data, self.server_url)
        return data


def _refusal(status: int, data: bytes, server_url: str) -> DownloadError | PublicationConflictError:
    try:
        sentence = msgspec.json.decode(data, type=dict[str, str])["error"]
    except (msgspec.MsgspecError, KeyError):
        sentence = "no reason was given; check the address"
    if status == 409:
        return PublicationConflictError(sentence)
    return HttpStatusError(f"{server_url} answered with status {status}: {sentence}", status_code=status)
