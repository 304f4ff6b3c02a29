"""The network: requests with time limits; failures become our errors.

`Transport` is the interface (tests run the server's own code behind it), `HttpTransport` implements it with HTTP, and
`TufFetcher` gives the same transport to python-tuf.
"""

import contextlib
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Protocol

import urllib3
from tuf.api.exceptions import DownloadError as TufDownloadError
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface

from edge_runtime.contract.errors import ConfigError, DownloadError, DownloadTooLargeError, HttpStatusError

MAX_ERROR_BYTES = 10_000
"""How much of an answer with an error status is read in search of its sentence."""
_CHUNK_BYTES = 1 << 16  # the usual size of a socket's buffer
_LONGEST_RETRY_AFTER_S = 86_400.0  # a day: a mistaken header must not silence a fleet for longer
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: status, headers with lower-case names, and the body as chunks that may be read once."""

    status: int
    headers: Mapping[str, str]
    chunks: Iterator[bytes]


class Transport(Protocol):
    """Sends one request; every failure of the network is a DownloadError."""

    def open(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> contextlib.AbstractContextManager[Answer]:
        """Send one request and give its answer, whatever its status; leaving the context frees the connection."""
        ...


@dataclass(frozen=True)
class TimeLimits:
    """Time limits of one request, in seconds: to connect, between two bytes, and in all."""

    connect_s: float = 10.0
    read_s: float = 20.0
    total_s: float = 900.0


@dataclass(frozen=True)
class HttpTransport:
    """The real network, by urllib3: no redirects, no retries, no compression; certificates are checked.

    A private certificate authority is named as for every OpenSSL program: by the environment variable SSL_CERT_FILE.
    """

    limits: TimeLimits = TimeLimits()
    clock: Callable[[], float] = time.monotonic
    _pool: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(maxsize=2), repr=False)

    @contextlib.contextmanager
    def open(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Iterator[Answer]:
        """Send one request.

        Raises:
            DownloadError: no connection, a time limit passed, or the connection broke.
        """
        deadline = self.clock() + self.limits.total_s
        with _network_errors_named(url):
            response = self._pool.request(
                method,
                url,
                body=body,
                headers={"Accept-Encoding": "identity", "User-Agent": "pocketrec", **(headers or {})},
                timeout=urllib3.Timeout(connect=self.limits.connect_s, read=self.limits.read_s),
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        try:
            lower = {name.lower(): value for name, value in response.headers.items()}
            yield Answer(response.status, lower, self._chunks(response, url, deadline))
        finally:
            # An answer that was not read to its end would otherwise be read by the next request.
            response.close()

    def _chunks(self, response: urllib3.BaseHTTPResponse, url: str, deadline: float) -> Iterator[bytes]:
        with _network_errors_named(url):
            # read1 gives what has arrived: a server that drips single bytes cannot hold us past the deadline.
            while chunk := response.read1(_CHUNK_BYTES, decode_content=False):
                if self.clock() > deadline:
                    raise DownloadError(
                        f"{_place(url)} took more than {self.limits.total_s:g} s to answer; try again later"
                    )
                yield chunk


@contextlib.contextmanager
def _network_errors_named(url: str) -> Iterator[None]:
    try:
        yield
    except urllib3.exceptions.NewConnectionError as error:
        raise DownloadError(f"cannot reach {_place(url)}; check the address and the network, then try again") from error
    except urllib3.exceptions.TimeoutError as error:
        raise DownloadError(f"{_place(url)} did not answer in time; try again later") from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        reason = type(error).__name__
        raise DownloadError(f"the connection to {_place(url)} failed ({reason}); try again later") from error


def _place(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def check_server_url(url: str, *, allow_plain_http: bool = False) -> str:
    """Return `url` without a trailing slash when it may be used as a server's address.

    Raises:
        ConfigError: not http(s), with a user name, a query or a fragment in it, or plain http to another machine.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment or "@" in url:
        raise ConfigError(f"expected a server address like https://updates.example.com, got {url!r}")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK and not allow_plain_http:
        raise ConfigError(
            f"{url} is plain http, which shows credentials to the network; use https, or allow it with --allow-plain-http"
        )
    return url.rstrip("/")


def check_answer(answer: Answer, url: str) -> None:
    """Refuse an answer that cannot be what was asked for.

    Raises:
        HttpStatusError: a status other than 2xx; carries the server's own sentence where it sent one.
        DownloadError: a web page, which is what the login page of a public network sends in our server's place.
    """
    is_page = answer.headers.get("content-type", "").startswith("text/html")
    if not 200 <= answer.status < 300:
        reason = "" if is_page else _error_sentence(answer)
        raise HttpStatusError(
            f"{_place(url)} answered with status {answer.status}{reason}",
            status_code=answer.status,
            retry_after_s=retry_after_s(answer.headers.get("retry-after", ""), now_s=time.time()),
        )
    if is_page:
        raise DownloadError(
            f"{_place(url)} answered with a web page instead of data; check the address, or sign in to this network first"
        )


def retry_after_s(value: str, *, now_s: float) -> float:
    """Return the seconds that a Retry-After header asks for: a number or a date; 0 for none or nonsense, a day at most."""
    try:
        seconds = float(value) if value.strip().isdigit() else parsedate_to_datetime(value).timestamp() - now_s
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER_S)


def _error_sentence(answer: Answer) -> str:
    try:
        text = read_limited(answer.chunks, MAX_ERROR_BYTES, what="error").decode("utf-8", errors="replace")
    except DownloadError:
        return ""
    _, found, rest = text.partition('"error"')
    sentence = "".join(char for char in rest.strip(' :"}\n') if char.isprintable())
    return f": {sentence}" if found and sentence else ""


def read_limited(chunks: Iterator[bytes], max_bytes: int, *, what: str) -> bytes:
    """Return all of `chunks`, `max_bytes` at most.

    Raises:
        DownloadTooLargeError: there is more; `what` names it.
    """
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > max_bytes:
            raise DownloadTooLargeError(
                f"the server's {what} is longer than its limit of {max_bytes} bytes; it was not read further"
            )
    return bytes(data)


class TufFetcher(FetcherInterface):
    """Gives python-tuf its bytes through a Transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def _fetch(self, url: str) -> Iterator[bytes]:
        chunks = self._chunks(url)
        try:
            first = next(chunks, b"")
        except HttpStatusError as error:
            raise DownloadHTTPError(str(error), error.status_code) from error
        except DownloadError as error:
            raise TufDownloadError(str(error)) from error
        return self._rest(first, chunks)

    def _chunks(self, url: str) -> Iterator[bytes]:
        with self._transport.open("GET", url) as answer:
            check_answer(answer, url)
            yield from answer.chunks

    @staticmethod
    def _rest(first: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
        yield first
        try:
            yield from chunks
        except DownloadError as error:
            raise TufDownloadError(str(error)) from error
