"""Requests of an operator's command to a server: an address, an API key, JSON both ways."""

import urllib.parse
from dataclasses import dataclass, field
from typing import Any

import msgspec
import urllib3

from edge_runtime.contract.errors import ConfigError, DownloadError, HttpStatusError

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_MAX_ANSWER_BYTES = 10_000_000


def check_server_address(server_url: str, *, sent: str, allow_plain_http: bool) -> None:
    """Refuse an address that is malformed, or that would show what is `sent` (its name) to the network.

    Raises:
        ConfigError: not an address, or plain http to another machine without `allow_plain_http`.
    """
    parts = urllib.parse.urlsplit(server_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or "@" in server_url:
        raise ConfigError(f"expected a server address like https://updates.example.com, got {server_url!r}")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK and not allow_plain_http:
        raise ConfigError(
            f"{server_url} is plain http, which shows the {sent} to the network; use https, or allow it with "
            "--allow-plain-http"
        )


@dataclass(frozen=True)
class ServerApi:
    """A server over the network.

    Args:
        server_url: https address; plain http only to this machine, or when `allow_plain_http`.
        key: an API key.
        allow_plain_http: send the key over an unprotected connection.
        timeout_s: longest wait between two bytes.

    Raises:
        ConfigError: the address is malformed or not protected.
    """

    server_url: str
    key: str = field(repr=False)
    allow_plain_http: bool = False
    timeout_s: float = 30.0

    def __post_init__(self) -> None:
        """Check the address."""
        check_server_address(self.server_url, sent="key", allow_plain_http=self.allow_plain_http)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Return the answer's JSON.

        Raises:
            HttpStatusError: the server refuses; the text is its own sentence.
            DownloadError: the server cannot be reached, or does not answer as agreed.
        """
        try:
            answer = urllib3.request(
                method,
                f"{self.server_url.rstrip('/')}/v1/{path}",
                body=msgspec.json.encode(body) if body is not None else None,
                headers={"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"},
                timeout=urllib3.Timeout(self.timeout_s),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            try:
                data = answer.read(_MAX_ANSWER_BYTES)
            finally:
                answer.close()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise DownloadError(f"cannot reach {self.server_url} ({type(error).__name__}); try again") from error
        try:
            found = msgspec.json.decode(data)
        except msgspec.MsgspecError as error:
            raise DownloadError(f"{self.server_url} did not answer as agreed; check the address") from error
        if not 200 <= answer.status < 300:
            sentence = found.get("error", "no reason was given") if isinstance(found, dict) else "no reason was given"
            raise HttpStatusError(f"{self.server_url} refuses: {sentence}", status_code=answer.status)
        return found
