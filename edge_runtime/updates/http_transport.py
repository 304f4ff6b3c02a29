"""The network: requests with time limits; failures become our errors.

`Transport` is the interface (tests run the server's own code behind it), `HttpTransport` implements it with HTTP, and
`TufFetcher` gives the same transport to python-tuf.
"""

import contextlib
import functools
import http.client
import io
import socket
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Protocol, cast

import urllib3
from tuf.api.exceptions import DownloadError as TufDownloadError
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface

from edge_runtime.contract.errors import ConfigError, DownloadError, DownloadTooLargeError, HttpStatusError

MAX_ERROR_BYTES = 10_000
"""How much of an answer with an error status is read in search of its sentence."""
MAX_FRAMING_BYTES = 1_000_000
"""Most bytes of an answer beside its body: headers have some 500, chunk sizes of a file of 512 MB by 8 kB some 400,000."""
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
    """Time limits of one request, in seconds: to connect, between two bytes, and in all.

    `total_s` ends whatever arrives: status line, headers, interim answers, body, chunk sizes and trailers.
    """

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
    _pool: urllib3.PoolManager = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Open no connection yet; those that are kept open obey these limits."""
        object.__setattr__(self, "_pool", _Pools(self.limits, self.clock))

    @contextlib.contextmanager
    def open(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Iterator[Answer]:
        """Send one request.

        Raises:
            DownloadError: no connection, a time limit passed, or the connection broke.
            DownloadTooLargeError: more than `MAX_FRAMING_BYTES` arrived beside the body.
        """
        deadline = self.clock() + self.limits.total_s
        with self._errors_named(url, deadline):
            response = self._pool.request(
                method,
                url,
                body=body,
                headers={"Accept-Encoding": "identity", "User-Agent": "pocketrec", **(headers or {})},
                timeout=urllib3.Timeout(
                    connect=self.limits.connect_s, read=self.limits.read_s, total=self.limits.total_s
                ),
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
        with self._errors_named(url, deadline):
            # read1 gives what has arrived, so that a download that breaks off keeps it.
            while chunk := response.read1(_CHUNK_BYTES, decode_content=False):
                yield chunk

    @contextlib.contextmanager
    def _errors_named(self, url: str, deadline: float) -> Iterator[None]:
        place = _place(url)
        try:
            yield
        except urllib3.exceptions.NewConnectionError as error:
            raise DownloadError(f"cannot reach {place}; check the address and the network, then try again") from error
        except urllib3.exceptions.TimeoutError as error:
            late = self.clock() >= deadline
            what = f"took more than {self.limits.total_s:g} s to answer" if late else "did not answer in time"
            raise DownloadError(f"{place} {what}; try again later") from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            reason = type(error).__name__
            raise DownloadError(f"the connection to {place} failed ({reason}); try again later") from error


class _Pools(urllib3.PoolManager):
    """Pools whose connections receive nothing after a request's deadline."""

    def __init__(self, limits: TimeLimits, clock: Callable[[], float]) -> None:
        super().__init__(maxsize=2)
        self.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}
        self._bounds = {"limits": limits, "clock": clock}

    def _new_pool(
        self, scheme: str, host: str, port: int, request_context: dict[str, Any] | None = None
    ) -> urllib3.HTTPConnectionPool:
        pool = super()._new_pool(scheme, host, port, request_context)
        pool.conn_kw.update(self._bounds)
        return pool


class _Bounded(http.client.HTTPConnection):
    """A connection each of whose requests has `limits.total_s` seconds, measured by `clock`, from its first byte."""

    def __init__(self, *args: Any, limits: TimeLimits, clock: Callable[[], float], **options: Any) -> None:
        super().__init__(*args, **options)
        self._limits, self._clock = limits, clock

    def putrequest(self, method: str, url: str, skip_host: bool = False, skip_accept_encoding: bool = False) -> None:
        deadline = self._clock() + self._limits.total_s
        made = functools.partial(_BoundedResponse, timeout_s=functools.partial(self._timeout_s, deadline))
        self.response_class = cast("type[http.client.HTTPResponse]", made)
        super().putrequest(method, url, skip_host, skip_accept_encoding)

    def _timeout_s(self, deadline: float) -> float:
        return min(self._limits.read_s, deadline - self._clock())


class _PlainConnection(_Bounded, urllib3.connection.HTTPConnection):
    pass


class _TlsConnection(_Bounded, urllib3.connection.HTTPSConnection):
    pass


class _PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _BoundedResponse(http.client.HTTPResponse):
    """An answer of which no byte is received later than `timeout_s` permits."""

    def __init__(self, sock: socket.socket, *args: Any, timeout_s: Callable[[], float], **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = _FramedReader(_TimedSocket(sock, self.fp.detach(), timeout_s))


class _TimedSocket(io.RawIOBase):
    """What `sock` receives: each wait ends after `timeout_s()`, which says the seconds that are left."""

    def __init__(self, sock: socket.socket, stream: io.RawIOBase, timeout_s: Callable[[], float]) -> None:
        self._sock, self._stream, self._timeout_s = sock, stream, timeout_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        timeout_s = self._timeout_s()
        if timeout_s <= 0:
            raise TimeoutError("the request has used up its time")
        self._sock.settimeout(timeout_s)
        return self._stream.readinto(buffer)

    def close(self) -> None:
        self._stream.close()
        super().close()


class _FramedReader(io.BufferedReader):
    """Counts what is read by lines: http.client reads so all that is not the body."""

    _framing_bytes = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        self._framing_bytes += len(line)
        if self._framing_bytes > MAX_FRAMING_BYTES:
            raise DownloadTooLargeError(
                f"the server sent more than {MAX_FRAMING_BYTES} bytes beside its answer; it was not read further"
            )
        return line


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
