"""PostgreSQL, Redis, Prometheus and nginx for a test or a benchmark: processes in a temporary folder, removed afterwards."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psycopg
from psycopg import sql

from edge_runtime.contract.errors import ConfigError

_START_LIMIT_S = 60.0
_POSTGRES_USER = "postgres"
_MEMORY_IN_USE = "pre-existing shared memory block"


def find_program(name: str, *, package: str) -> str:
    """Return the path of a program.

    Raises:
        ConfigError: it is not installed; names the Debian package.
    """
    folders = [os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/bin"]
    folders += sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    found = shutil.which(name, path=os.pathsep.join(folders))
    if found is None:
        raise ConfigError(f"{name} is not installed; install it with: sudo apt-get install {package}")
    return found


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class _Program:
    """One process with a log in its own folder; `kill` is a crash, `stop` an orderly end."""

    _stop_signal = signal.SIGTERM

    def __init__(self, name: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"pocketrec-{name}-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What the process has written."""
        return (self.folder / "log").read_text(errors="replace")

    def _launch(self, command: Sequence[str], is_ready: Callable[[], bool]) -> None:
        with (self.folder / "log").open("ab") as log:
            # Its own group, so that a kill reaches its children as well.
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, start_new_session=True)
        limit = time.monotonic() + _START_LIMIT_S
        while not is_ready():
            if self._process.poll() is not None or time.monotonic() > limit:
                raise ConfigError(f"{command[0]} did not start: {self.log[-1_000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill the process, and wait until it has ended."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def stop(self) -> None:
        """End the process and remove its folder."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(self._stop_signal)
            try:
                self._process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class LocalPostgres(_Program):
    """A PostgreSQL cluster on a Unix socket.

    Args:
        durable: whether a commit waits for the disk; off saves time where no crash is tried.

    Raises:
        ConfigError: PostgreSQL is not installed or does not start.
    """

    # Fast shutdown: connections are ended, what was committed is on the disk.
    _stop_signal = signal.SIGINT

    def __init__(self, *, durable: bool = True) -> None:
        super().__init__("pg")
        self._as_owner: list[str] = []
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root.
            owner = pwd.getpwnam(_POSTGRES_USER)
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
            self._as_owner = ["setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]
        initdb = find_program("initdb", package="postgresql")
        options = ["-A", "trust", "-U", _POSTGRES_USER, "-E", "UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run(
            [*self._as_owner, initdb, "-D", str(self.folder / "data"), *options],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
        )
        if done.returncode:
            raise ConfigError(f"initdb failed: {done.stderr[-1_000:]}")
        self._durable = durable
        self.start()

    def start(self) -> None:
        """Start the cluster, again after `kill`."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "fsync": "on" if self._durable else "off",
            "max_connections": "100",
            "shared_buffers": "256MB",
            "max_wal_size": "4GB",
        }
        arguments = [item for name, value in settings.items() for item in ("-c", f"{name}={value}")]
        program = find_program("postgres", package="postgresql")
        command = [*self._as_owner, program, "-D", str(self.folder / "data"), *arguments]
        limit = time.monotonic() + _START_LIMIT_S
        while True:
            try:
                self._launch(command, self._is_ready)
            except ConfigError:
                # After a crash the backends, each in a session of its own, need a moment to let go of the memory.
                if _MEMORY_IN_USE not in self.log[-1_000:] or time.monotonic() > limit:
                    raise
                time.sleep(0.1)
            else:
                return

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database in this cluster."""
        return f"postgresql://{_POSTGRES_USER}@/{database}?host={self.folder}"

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """Make a database, a copy of `template`; return its URL."""
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)
        return self.url(name)

    def _is_ready(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


class LocalRedis(_Program):
    """A Redis on a port of the loopback interface; nothing is written to disk.

    Raises:
        ConfigError: Redis is not installed or does not start.
    """

    def __init__(self) -> None:
        super().__init__("redis")
        self.port = free_port()
        self.start()

    @property
    def url(self) -> str:
        """The server's redis_url."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, again after `kill`."""
        program = find_program("redis-server", package="redis-server")
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._launch([program, *arguments], lambda: _answers(self.port))


class LocalPrometheus(_Program):
    """A Prometheus that scrapes one server every second.

    Args:
        target: host:port of the server.

    Raises:
        ConfigError: Prometheus is not installed or does not start.
    """

    def __init__(self, target: str) -> None:
        super().__init__("prometheus")
        self.port = free_port()
        (self.folder / "prometheus.yml").write_text(
            "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\n"
            f"scrape_configs:\n  - job_name: pocketrec\n    static_configs:\n      - targets: ['{target}']\n"
        )
        program = find_program("prometheus", package="prometheus")
        arguments = [
            f"--config.file={self.folder}/prometheus.yml",
            f"--storage.tsdb.path={self.folder}/data",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]
        self._launch([program, *arguments], lambda: _answers(self.port))

    @property
    def url(self) -> str:
        """The address of its HTTP API."""
        return f"http://127.0.0.1:{self.port}"


class LocalNginx(_Program):
    """An nginx with a configuration of its own.

    Args:
        config: the text of nginx.conf.
        port: where it listens by that configuration.

    Raises:
        ConfigError: nginx is not installed or does not start.
    """

    def __init__(self, config: str, *, port: int) -> None:
        super().__init__("nginx")
        self.port = port
        (self.folder / "nginx.conf").write_text(config)
        program = find_program("nginx", package="nginx-light")
        # Until the configuration is read, errors would go to /var/log.
        command = [program, "-p", str(self.folder), "-c", "nginx.conf", "-e", "stderr", "-g", "daemon off;"]
        self._launch(command, lambda: _answers(port))


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
