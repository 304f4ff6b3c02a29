"""A publisher on the loopback interface: serves given answers over real HTTP."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.loopback import listening


@dataclass
class Answer:
    """One answer; `claimed_length` is sent as Content-Length, None sends none, "true" the real one."""

    body: bytes = b""
    status: int = 200
    claimed_length: int | str | None = "true"
    headers: Mapping[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def publisher_server(answers: Mapping[str, Answer]) -> Iterator[str]:
    """Serve `answers` (path -> answer); yield the base address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            answer = answers.get(self.path, Answer(b"no such file", status=404))
            self.send_response(answer.status)
            length = len(answer.body) if answer.claimed_length == "true" else answer.claimed_length
            if length is not None:
                self.send_header("Content-Length", str(length))
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *arguments):
            pass

    with listening(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield url
