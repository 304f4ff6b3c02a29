"""Runs the application under gunicorn."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication

from sync_server.app import create_app
from sync_server.config import ServerConfig
from sync_server.hosting.downloads import BoundedDownloads
from sync_server.hosting.slow_clients import SlowLimits
from sync_server.metrics import share_between_workers
from sync_server.rollouts.scheduler import start_scheduler
from sync_server.services import EXTENSION, Services


class _Server(BaseApplication):
    def __init__(self, config: ServerConfig, on_ready: Callable[[str], None], *, metrics: Path | None = None) -> None:
        self._config = config
        self._metrics = metrics
        self._on_ready = on_ready
        self.limits = SlowLimits(
            header_s=config.slow_header_s, request_s=config.slow_request_s, transfer_s=config.slow_transfer_s
        )
        super().__init__()

    def load_config(self) -> None:
        settings = {
            "bind": f"{self._config.host}:{self._config.port}",
            "workers": self._config.workers,
            "threads": self._config.threads,
            "worker_class": "sync_server.hosting.slow_clients.DeadlineWorker",
            "keepalive": self._config.keep_alive_s,
            "when_ready": self._ready,
            "on_exit": self._exit,
            "graceful_timeout": 20,
            # gunicorn's control socket is not used here, so it stays closed.
            "control_socket_disable": True,
            "loglevel": "warning",
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        # This runs in the worker, after the fork: a database connection must not be shared between processes.
        app = create_app(self._config)
        services: Services = app.extensions[EXTENSION]
        start_scheduler(services.rollouts, services.offers)
        return BoundedDownloads(
            app,
            most=self._config.open_downloads,
            read_s=self._config.slow_read_s,
            on_refused=lambda: services.metrics.count_request("GET", None, 503, 0.0),
        )

    def _exit(self, _arbiter: Any) -> None:
        # Only the main process runs this, after all workers have ended.
        if self._metrics is not None:
            shutil.rmtree(self._metrics, ignore_errors=True)

    def _ready(self, arbiter: Any) -> None:
        self._on_ready(f"http://{self._config.host}:{arbiter.LISTENERS[0].getsockname()[1]}")


def serve(config: ServerConfig, *, on_ready: Callable[[str], None]) -> None:
    """Serve a prepared home until SIGTERM or SIGINT; `on_ready` is called with the address once the server accepts requests."""
    folder = Path(tempfile.mkdtemp(prefix="pocketrec-metrics-"))
    share_between_workers(folder)
    _Server(config, on_ready, metrics=folder).run()
