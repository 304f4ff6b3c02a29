"""The real application on a real port, in a thread: for browsers."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from edge_runtime.contract.bundle import Bundle
from tests.support.server_simulator import ServerSimulator


class _Quiet(WSGIRequestHandler):
    def log(self, *arguments: object) -> None:
        pass


@dataclass
class LiveServer:
    """A running server; `stop` and `start` take it off the network and back, at the same address."""

    simulator: ServerSimulator
    port: int
    _server: BaseWSGIServer | None = None
    _thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def publish(self, bundle: Bundle) -> int:
        """Publish `bundle` in the channel `stable`; return the release."""
        return self.simulator.publish(bundle).release

    def start(self) -> None:
        self._server = make_server("127.0.0.1", self.port, self.simulator.app, threaded=True, request_handler=_Quiet)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None


@contextlib.contextmanager
def live_server(folder: Path, **settings: Any) -> Iterator[LiveServer]:
    """Serve a new home in `folder`; `settings` are those of ServerConfig."""
    simulator = ServerSimulator(folder / "live", **settings)
    running = LiveServer(simulator, 0)
    running.start()
    try:
        yield running
    finally:
        running.stop()
        simulator.close()
