"""The machine that a benchmark ran on, as its result file names it."""

import os
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """What a reader needs to compare two results; it names no host."""

    cpu: str
    cores: int
    vnni: bool
    memory_gb: float
    system: str
    python: str
    packages: dict[str, str]


def describe_machine(packages: tuple[str, ...] = ("numpy", "onnxruntime", "ai-edge-litert")) -> Machine:
    """Return a description of this machine with the versions of those `packages` that are installed."""
    details = _cpu_details()
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return Machine(
        cpu=details.get("model name", platform.processor() or platform.machine()),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        vnni="vnni" in details.get("flags", ""),
        memory_gb=round(_memory_bytes() / 2**30, 1),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        packages=versions,
    )


def _cpu_details(path: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n\n", 1)[0].splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
