"""Running the application under gunicorn."""

from collections.abc import Callable
from typing import Any

from gunicorn.app.base import BaseApplication

from sync_server.app import create_app
from sync_server.config import ServerConfig


class _Server(BaseApplication):
    def __init__(self, config: ServerConfig, on_ready: Callable[[str], None]) -> None:
        self._config = config
        self._on_ready = on_ready
        super().__init__()

    def load_config(self) -> None:
        settings = {
            "bind": f"{self._config.host}:{self._config.port}",
            "workers": self._config.workers,
            "threads": self._config.threads,
            "worker_class": "gthread",
            "when_ready": self._ready,
            "graceful_timeout": 20,
            # A second door into the process, which nobody here uses.
            "control_socket_disable": True,
            "loglevel": "warning",
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        # In the worker, after the fork: a database connection must not cross it.
        return create_app(self._config)

    def _ready(self, arbiter: Any) -> None:
        self._on_ready(f"http://{self._config.host}:{arbiter.LISTENERS[0].getsockname()[1]}")


def serve(config: ServerConfig, *, on_ready: Callable[[str], None]) -> None:
    """Serve a prepared home until SIGTERM or SIGINT; `on_ready` hears the address once requests are taken."""
    _Server(config, on_ready).run()
