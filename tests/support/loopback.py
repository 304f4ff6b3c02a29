"""HTTP servers of the tests on the loopback interface, each in a thread of this process."""

import contextlib
import threading
from collections.abc import Iterator
from http.server import HTTPServer


@contextlib.contextmanager
def listening(server: HTTPServer) -> Iterator[str]:
    """Run `server`; yield its base address; stop it at the end."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
