"""Result files: the machine of a benchmark and its results, as JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from edge_runtime.contract.atomic_files import write_bytes_atomically

RESULTS = Path(__file__).parent / "results"


def write_result(path: Path, packages: tuple[str, ...], content: Mapping[str, Any]) -> None:
    """Write the machine with the versions of `packages`, then `content`, in the place of an earlier result."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {"machine": asdict(describe_machine(packages)), **content}
    write_bytes_atomically(path, (json.dumps(whole, indent=2) + "\n").encode())
