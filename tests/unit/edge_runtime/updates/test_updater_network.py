"""The real transport against real sockets: slow, silent, broken and lying servers."""

import contextlib
import socket
import threading
import time

import pytest
from tuf.api.exceptions import DownloadError as TufDownloadError
from tuf.api.exceptions import DownloadHTTPError

from benchmarks.fleet.faults.dripping import DRIPS, dripping_server
from edge_runtime.contract.errors import ConfigError, DownloadError, DownloadTooLargeError, HttpStatusError
from edge_runtime.updates.http_transport import (
    MAX_FRAMING_BYTES,
    Answer,
    HttpTransport,
    TimeLimits,
    TufFetcher,
    check_answer,
    check_server_url,
    read_limited,
)

LIMITS = TimeLimits(connect_s=1.0, read_s=0.3, total_s=0.8)


@contextlib.contextmanager
def answering(*pieces: bytes, pause_s: float = 0.0):
    """A server that takes one connection and sends `pieces`, waiting between them."""
    listener = socket.create_server(("127.0.0.1", 0))

    def talk():
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                for piece in pieces:
                    connection.sendall(piece)
                    time.sleep(pause_s)

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/x"
    finally:
        listener.close()
        thread.join()


@contextlib.contextmanager
def conversing(*answers: bytes):
    """A server that gives one of `answers` to each request of a connection; also gives the connections it has taken."""
    listener = socket.create_server(("127.0.0.1", 0))
    connections = []

    def talk():
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            connections.append(connection)
            with connection:
                for answer in answers:
                    connection.recv(65_536)
                    connection.sendall(answer)

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/x", connections
    finally:
        listener.close()
        thread.join()


def get(url, transport=None):
    with (transport or HttpTransport(limits=LIMITS)).open("GET", url) as answer:
        check_answer(answer, url)
        return b"".join(answer.chunks)


def test_answer_arrives_whole():
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello") as url:
        assert get(url) == b"hello"


def test_refused_connection_is_named():
    with pytest.raises(DownloadError, match=r"cannot reach http://127\.0\.0\.1:9"):
        get("http://127.0.0.1:9/x")


def test_silent_server_is_given_up():
    with answering(b"", pause_s=1.0) as url, pytest.raises(DownloadError, match="in time"):
        get(url)


def test_dripping_server_is_given_up():
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
    # A whole answer would take ten seconds and more: that the limit is named says that nobody waited for it.
    with answering(head, *[b"x"] * 100, pause_s=0.1) as url, pytest.raises(DownloadError, match=r"more than 0\.8 s"):
        get(url)


HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
WHOLE = HEAD + b"Content-Length: 5\r\n\r\nhello"


@pytest.mark.parametrize("part", DRIPS)
def test_mirror_that_drips_any_part_of_an_answer_is_given_up(part):
    """Each answer would be whole after 20 seconds: that none became whole says that nobody waited for it."""
    limits = TimeLimits(connect_s=10.0, read_s=10.0, total_s=0.5)
    with dripping_server(DRIPS[part], pause_s=0.1) as server:
        with pytest.raises(DownloadError, match=r"more than 0\.5 s"):
            get(f"http://127.0.0.1:{server.server_address[1]}/x", HttpTransport(limits=limits))
        assert server.whole_answers == 0


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (CHUNKED + b"5\r\nhello\r\n0\r\n", b"X-Trailer: x\r\n"),
        (CHUNKED, b"1;" + b"x" * 1_000 + b"\r\nx\r\n"),
    ],
    ids=["interim answers", "trailers", "chunk sizes"],
)
def test_endless_data_beside_a_body_is_not_read(start, piece):
    pieces = [piece * 1_000] * (2 * MAX_FRAMING_BYTES // (1_000 * len(piece)) + 1)
    with answering(start, *pieces) as url, pytest.raises(DownloadTooLargeError, match="beside its answer"):
        get(url, HttpTransport(limits=TimeLimits(connect_s=60.0, read_s=60.0, total_s=60.0)))


def test_time_that_one_request_took_is_not_taken_from_the_next():
    """A connection that is kept open serves many requests, each with a time of its own."""
    now = [0.0]
    transport = HttpTransport(limits=TimeLimits(connect_s=10.0, read_s=10.0, total_s=60.0), clock=lambda: now[0])
    with conversing(WHOLE, WHOLE, WHOLE) as (url, connections):
        for _ in range(3):
            assert get(url, transport) == b"hello"
            now[0] += 59.0
    assert len(connections) == 1


def test_broken_connection_is_named():
    with (
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf") as url,
        pytest.raises(DownloadError, match=r"connection to .* failed"),
    ):
        get(url)


def test_answer_that_is_not_http_is_named():
    with answering(b"SSH-2.0-OpenSSH\r\n") as url, pytest.raises(DownloadError):
        get(url)


def test_redirect_is_not_followed():
    head = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n"
    with answering(head) as url, pytest.raises(HttpStatusError) as caught:
        get(url)
    assert caught.value.status_code == 302


def test_error_page_of_a_proxy_is_not_quoted():
    answer = Answer(502, {"content-type": "text/html"}, iter([b"<html>\x1b[31m</html>"]))
    with pytest.raises(HttpStatusError) as caught:
        check_answer(answer, "http://s/x")
    assert str(caught.value) == "http://s answered with status 502"


def test_control_characters_of_an_error_are_not_shown():
    answer = Answer(400, {}, iter([b'{"error":"bad \x1b[31m thing"}']))
    with pytest.raises(HttpStatusError) as caught:
        check_answer(answer, "http://s/x")
    assert "\x1b" not in str(caught.value) and "bad" in str(caught.value)


def test_endless_error_is_not_read():
    answer = Answer(500, {}, iter(lambda: b"x" * 10_000, None))
    with pytest.raises(HttpStatusError, match="status 500"):
        check_answer(answer, "http://s/x")


def test_limit_is_inclusive():
    assert read_limited(iter([b"abc"]), 3, what="thing") == b"abc"
    with pytest.raises(DownloadTooLargeError, match="thing is longer than its limit of 3"):
        read_limited(iter([b"abc", b"d"]), 3, what="thing")


class Failing:
    """A transport whose answer fails at once or after its first chunk."""

    def __init__(self, status=200, error=None):
        self.status, self.error = status, error

    @contextlib.contextmanager
    def open(self, method, url, *, headers=None, body=None):
        def chunks():
            yield b"first"
            raise self.error

        yield Answer(self.status, {}, chunks())


def test_python_tuf_hears_status_and_failures():
    with pytest.raises(DownloadHTTPError) as caught:
        TufFetcher(Failing(status=404, error=DownloadError("x"))).fetch("http://s/1.root.json")
    assert caught.value.status_code == 404
    chunks = TufFetcher(Failing(error=DownloadError("broke"))).fetch("http://s/x")
    assert next(chunks) == b"first"
    with pytest.raises(TufDownloadError, match="broke"):
        next(chunks)


@pytest.mark.parametrize("url", ["ftp://x", "https://", "https://me@x", "https://x/?a=1", "x.com", "https://x#y"])
def test_malformed_address_is_refused(url):
    with pytest.raises(ConfigError, match="expected a server address"):
        check_server_url(url)


def test_plain_http_is_for_this_machine_only():
    assert check_server_url("http://127.0.0.1:80/") == "http://127.0.0.1:80"
    assert check_server_url("https://x.example/base/") == "https://x.example/base"
    with pytest.raises(ConfigError, match="--allow-plain-http"):
        check_server_url("http://x.example")
    assert check_server_url("http://x.example", allow_plain_http=True) == "http://x.example"
