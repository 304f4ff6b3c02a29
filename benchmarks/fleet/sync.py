"""Figures of the server, the fleet, deltas and rollouts; writes benchmarks/results/sync.json.

    python -m benchmarks.fleet.sync [--devices 10000] [--seconds 10] [--only load|fleet|idle|deltas|rollouts ...]
                              [--bundle BUNDLE --retrained BUNDLE]

Server, databases and load run on this one machine, over loopback.
"""

import argparse
import contextlib
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.fleet.local_servers import LocalPostgres
from benchmarks.fleet.plain_bundle import write_plain_bundle
from benchmarks.fleet.server_process import ServerProcess
from benchmarks.fleet.sync_idle import measure_idle_sync
from benchmarks.fleet.sync_load import measure_freshness, measure_storing, publish_to
from benchmarks.fleet.sync_table import figure_table
from benchmarks.fleet.virtual_fleet import Fleet
from benchmarks.result_file import write_result
from edge_runtime.contract.errors import PocketrecError

RESULTS = Path(__file__).parents[1] / "results" / "sync.json"
PARTS = ("load", "fleet", "idle", "deltas", "rollouts")


class BenchmarkError(PocketrecError):
    """A part of the benchmark did not run to its end."""


@contextlib.contextmanager
def _server(database_url: str) -> Iterator[ServerProcess]:
    server = ServerProcess(database_url=database_url)
    try:
        publish_to(server, write_plain_bundle(server.folder / "bundle"))
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def _postgres() -> Iterator[LocalPostgres]:
    postgres = LocalPostgres()
    try:
        yield postgres
    finally:
        postgres.stop()


def measure_load(*, seconds: float) -> dict[str, Any]:
    """Return storing on both databases, and "anything new?" alone and under feedback on PostgreSQL."""
    with _postgres() as postgres, _server(postgres.url()) as server:
        on_postgres = measure_storing(server, seconds=seconds)
        freshness = measure_freshness(server, seconds=seconds)
    with _server("") as server:
        on_sqlite = measure_storing(server, seconds=seconds)
    return {
        "storing": [dataclasses.asdict(on_postgres), dataclasses.asdict(on_sqlite)],
        "freshness": dataclasses.asdict(freshness),
    }


def measure_fleet(*, devices: int) -> dict[str, Any]:
    """Return what became of the events of a fleet while PostgreSQL and the server were killed."""
    with _postgres() as postgres, _server(postgres.url()) as server:

        def crash_database() -> None:
            postgres.kill()
            postgres.start()

        def crash_server() -> None:
            server.kill()
            server.start()

        fleet = Fleet(
            server,
            devices=devices,
            crashes=[crash_database, crash_server, crash_database],
            on_progress=lambda done: _say(f"{done} of {devices} devices at rest") if done % 1_000 == 0 else None,
        )
        return dataclasses.asdict(fleet.run())


def measure_idle() -> dict[str, Any]:
    """Return the cost of one sync of a device that has everything."""
    with _server("") as server, tempfile.TemporaryDirectory() as folder:
        return dataclasses.asdict(measure_idle_sync(server, Path(folder)))


def run_module(module: str, *arguments: str) -> list[dict[str, Any]]:
    """Return the lines of JSON that `python -m module` prints.

    Raises:
        BenchmarkError: it failed.
    """
    done = subprocess.run([sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"python -m {module} ended with code {done.returncode}; run it by itself to see why")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def _delta_arguments(options: argparse.Namespace) -> list[str]:
    arguments = [str(options.bundle)] if options.bundle else []
    return [*arguments, "--retrained", str(options.retrained)] if options.retrained else arguments


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Run the parts; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet.sync", description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("--devices", type=int, default=10_000, help="virtual devices of the fleet (10000)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load (10)")
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=PARTS, help="these parts; others keep their figures"
    )
    parser.add_argument("--bundle", type=Path, help="whose deltas are measured; by default the sample shop's")
    parser.add_argument("--retrained", type=Path, help="what pocketrec retrain made of that bundle")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    measures: dict[str, Callable[[], Any]] = {
        "load": lambda: measure_load(seconds=options.seconds),
        "fleet": lambda: measure_fleet(devices=options.devices),
        "idle": measure_idle,
        "deltas": lambda: run_module("benchmarks.fleet.sync_deltas", *_delta_arguments(options)),
        "rollouts": lambda: run_module("benchmarks.fleet.rollouts"),
    }
    result: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    try:
        for part in options.only:
            _say(f"{part} ...")
            began = time.monotonic()
            result[part] = {
                "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
                "figures": measures[part](),
                "seconds": round(time.monotonic() - began, 1),
            }
    except PocketrecError as error:
        _say(f"benchmarks.fleet.sync: {error}")
        return error.exit_code
    packages = ("flask", "gunicorn", "sqlalchemy", "psycopg", "msgspec", "tuf")
    result.pop("machine", None)
    write_result(options.out, packages, result)
    print(figure_table(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
