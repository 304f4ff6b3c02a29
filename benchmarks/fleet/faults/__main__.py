"""Faults and attacks against real processes; writes benchmarks/results/faults.json.

python -m benchmarks.fleet.faults [--only NAME ...] [--kills 10000]
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.fleet.faults.delta_memory import measure_delta_memory
from benchmarks.fleet.faults.dripping import measure_dripping
from benchmarks.fleet.faults.forged_counts import measure_forged_counts
from benchmarks.fleet.faults.killed_apps import measure_killed_apps
from benchmarks.fleet.faults.packed_bodies import measure_packed_bodies
from benchmarks.fleet.faults.slow_readers import measure_slow_readers
from benchmarks.fleet.faults.table import Row, fault_table
from benchmarks.result_file import RESULTS, write_result
from edge_runtime.contract.errors import PocketrecError
from sync_server.events.daily_quota import DailyQuota

PARTS = ("dripping", "forged-counts", "packed-bodies", "killed-apps", "slow-readers", "delta-memory")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the parts; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet.faults", description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="these parts; others keep their rows")
    parser.add_argument("--kills", type=int, default=10_000, help="of apps (10000)")
    parser.add_argument("--limit-seconds", type=float, default=10.0, help="of one request of a dripping server (10)")
    parser.add_argument("--windows", type=int, default=20, help="of forged reports, before and after now (20)")
    parser.add_argument("--quota-bytes", type=int, default=DailyQuota().max_bytes, help="of one device in a day")
    parser.add_argument("--connections", type=int, default=200, help="that read nothing (200)")
    parser.add_argument("--proxied-connections", type=int, default=500, help="the same behind nginx (500)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of probes (20)")
    parser.add_argument("--file-bytes", type=int, default=80_000_000, help="that deltas make (80000000)")
    parser.add_argument("--out", type=Path, default=RESULTS / "faults.json")
    options = parser.parse_args(arguments)
    measures: dict[str, Callable[[], list[Row]]] = {
        "dripping": lambda: measure_dripping(limit_s=options.limit_seconds),
        "forged-counts": lambda: measure_forged_counts(windows=options.windows),
        "packed-bodies": lambda: measure_packed_bodies(quota_bytes=options.quota_bytes),
        "killed-apps": lambda: measure_killed_apps(kills=options.kills),
        "slow-readers": lambda: measure_slow_readers(
            connections=options.connections, proxied_connections=options.proxied_connections, seconds=options.seconds
        ),
        "delta-memory": lambda: measure_delta_memory(file_bytes=options.file_bytes),
    }
    result: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    result.pop("machine", None)
    try:
        for part in options.only:
            _say(f"{part} ...")
            began = time.monotonic()
            rows = [dataclasses.asdict(row) for row in measures[part]()]
            measured_at, seconds = datetime.now(UTC).isoformat(timespec="seconds"), round(time.monotonic() - began, 1)
            result[part] = {"measured_at": measured_at, "rows": rows, "seconds": seconds}
            write_result(options.out, ("flask", "gunicorn", "sqlalchemy", "zstandard", "tuf", "urllib3"), result)
    except PocketrecError as error:
        _say(f"benchmarks.fleet.faults: {error}")
        return error.exit_code
    print(fault_table(result, PARTS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
