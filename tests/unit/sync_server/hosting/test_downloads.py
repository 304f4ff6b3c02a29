"""Large answers are bounded, small ones never are."""

import json

import pytest

from sync_server.hosting.downloads import SMALL_BYTES, BoundedDownloads

LARGE = SMALL_BYTES + 1


class Connection:
    timeout = None

    def settimeout(self, seconds):
        self.timeout = seconds


class Body:
    """Pieces of an answer, which must be closed."""

    def __init__(self, length):
        self.pieces, self.closed = iter([b"x" * length]), False

    def __iter__(self):
        return self.pieces

    def close(self):
        self.closed = True


class Application:
    """Answers with a body of the asked length, announced or not."""

    def __init__(self):
        self.bodies = []

    def __call__(self, environ, start_response):
        length = environ["length"]
        announced = [("Content-Length", str(length))] if environ.get("announced", True) else []
        start_response(environ.get("status", "200 OK"), announced)
        self.bodies.append(Body(length))
        return self.bodies[-1]


class Server:
    def __init__(self, most):
        self.refused, self.inner = 0, Application()
        self.app = BoundedDownloads(self.inner, most=most, read_s=20, on_refused=self.refuse)

    def refuse(self):
        self.refused += 1

    def ask(self, length, method="GET", **environ):
        """Return status, headers and body; the body is neither read nor closed."""
        begun = []
        environ = {"REQUEST_METHOD": method, "length": length, "gunicorn.socket": Connection(), **environ}
        body = self.app(environ, lambda status, headers: begun.append((status, dict(headers))))
        (beginning,) = begun
        return (*beginning, body, environ["gunicorn.socket"])


def test_further_downloads_are_refused_until_one_ends():
    server = Server(most=2)
    open_ones = [server.ask(LARGE) for _ in range(2)]
    assert [status for status, *_ in open_ones] == ["200 OK"] * 2
    status, headers, body, _ = server.ask(LARGE)
    assert status.startswith("503") and int(headers["Retry-After"]) > 0
    assert "try again later" in json.loads(b"".join(body))["error"]
    # What the application opened for the refused one is closed.
    assert (server.refused, server.inner.bodies[-1].closed) == (1, True)
    open_ones[0][2].close()
    status, _, body, _ = server.ask(LARGE)
    assert status == "200 OK" and b"".join(body) == b"x" * LARGE


@pytest.mark.parametrize(
    "request_", [{"length": SMALL_BYTES}, {"length": LARGE, "method": "HEAD"}, {"length": LARGE, "status": "304 OLD"}]
)
def test_what_needs_no_waiting_is_never_refused(request_):
    server = Server(most=1)
    server.ask(LARGE)
    for _ in range(3):
        status, _, _, connection = server.ask(**request_)
        assert not status.startswith("503") and connection.timeout is None


def test_an_answer_of_unknown_length_counts_as_large():
    server = Server(most=1)
    assert server.ask(5, announced=False)[0] == "200 OK"
    assert server.ask(LARGE)[0].startswith("503")


def test_a_client_that_takes_nothing_is_left_after_a_while():
    *_, connection = Server(most=1).ask(LARGE)
    assert connection.timeout == 20
