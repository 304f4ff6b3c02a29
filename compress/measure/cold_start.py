"""A new process that opens a bundle and answers once, as a device does.

The builder's own process has already loaded libraries, so it cannot measure the time and memory that a device needs.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from compress.errors import CompressionError
from edge_runtime.recommender import Recommender

_INTERPRETERS = {
    "ai_edge_litert.interpreter": ("LiteRT", "ai-edge-litert"),
    "tflite_runtime.interpreter": ("tflite-runtime", "tflite-runtime"),
}
# A slow device opens a large bundle in seconds; two minutes is a process that hangs.
_TIMEOUT_S = 120
_ROOT = Path(__file__).resolve().parents[2]
# The child finds our rooms wherever the user stands, and a file of theirs never shadows one. The runtime is imported
# first and timed, before anything of the builder.
_PROGRAM = """
import sys, time
sys.path.insert(0, sys.argv[1])
started = time.perf_counter()
import edge_runtime.recommender, edge_runtime.inference.interpreter
edge_runtime.inference.interpreter.import_interpreter()
import_s = time.perf_counter() - started
from edge_runtime.recommender import Recommender
opening = time.perf_counter()
opened = Recommender.open(sys.argv[2], num_threads=int(sys.argv[4]), verify=sys.argv[6] == "1")
asked = time.perf_counter()
opened.search(sys.argv[3])
answered, process_s = time.perf_counter(), time.time() - float(sys.argv[5])
from compress.measure.cold_start import write_cold_start
write_cold_start(opened, sys.argv[3], import_s, asked - opening, answered - asked, process_s)
"""
_IDLE_PROGRAM = """
import importlib, sys
sys.path.insert(0, sys.argv[1])
import numpy, sqlite3
for name in sys.argv[2:]:
    try:
        importlib.import_module(name)
        break
    except ImportError:
        continue
from pathlib import Path
print(Path("/proc/self/status").read_text())
"""


@dataclass(frozen=True)
class ColdStart:
    """What a device needs before its first answer.

    Attributes:
        interpreter: name and version of what ran the models.
        import_ms: importing the runtime, and the interpreter that it imports when it opens the first bundle.
        open_ms: opening the bundle: digests, models, catalogue.
        first_answer_ms: the first search.
        process_ms: from the start of the process to its first answer.
        memory_idle_bytes: resident memory of a process that only imported NumPy, sqlite3 and the interpreter.
        memory_bytes: resident memory after the first answer, the mapped files included.
        memory_private_bytes: how much of the rise above the idle process is this process's own, mapped files left out.
        memory_peak_bytes: the most that was resident up to the first answer; all four 0 where /proc is missing.
    """

    interpreter: str
    import_ms: float
    open_ms: float
    first_answer_ms: float
    process_ms: float
    memory_idle_bytes: int
    memory_bytes: int
    memory_private_bytes: int
    memory_peak_bytes: int


def measure_cold_start(
    bundle: Path, query: str, *, num_threads: int = 1, verify: bool = True, byte_code: Path | None = None
) -> ColdStart:
    """Open `bundle` in a fresh process and search for `query`.

    Args:
        bundle: the folder.
        query: what is searched for.
        num_threads: threads of one model call, and of NumPy (`OMP_NUM_THREADS`).
        verify: compare the bundle's digests on opening.
        byte_code: folder in which compiled modules are kept, for an environment that was installed without them; by
            default whatever the environment does.

    Raises:
        CompressionError: the process failed.
    """
    # NumPy's own threads, which nothing here uses, would spin for a while beside the opening.
    environment = {**os.environ, "OMP_NUM_THREADS": str(num_threads)}
    if byte_code is not None:
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        environment["PYTHONPYCACHEPREFIX"] = str(byte_code)
    idle = _fields(_run(bundle, [_IDLE_PROGRAM, str(_ROOT), *_INTERPRETERS], environment))
    arguments = [str(bundle.resolve()), query, str(num_threads), repr(time.time()), str(int(verify))]
    paid = json.loads(_run(bundle, [_PROGRAM, str(_ROOT), *arguments], environment))
    private = paid.pop("private") - idle.get("RssAnon", 0)
    return ColdStart(**paid, memory_idle_bytes=idle.get("VmRSS", 0), memory_private_bytes=max(0, private))


def write_cold_start(
    opened: Recommender, query: str, import_s: float, open_s: float, first_answer_s: float, process_s: float
) -> None:
    """Write the measurements of the fresh process as JSON to stdout; this runs in that process, after its first answer."""
    fields = _fields(
        Path("/proc/self/status").read_text(encoding="ascii") if Path("/proc/self/status").exists() else ""
    )
    result = {
        "interpreter": _interpreter_name(),
        "import_ms": import_s * 1e3,
        "open_ms": open_s * 1e3,
        "first_answer_ms": first_answer_s * 1e3,
        "process_ms": process_s * 1e3,
        "memory_bytes": fields.get("VmRSS", 0),
        "private": fields.get("RssAnon", 0),
        "memory_peak_bytes": fields.get("VmHWM", 0),
    }
    opened.close()
    sys.stdout.write(json.dumps(result))


def _run(bundle: Path, arguments: list[str], environment: dict[str, str]) -> str:
    """Return what a Python process with these arguments prints.

    Raises:
        CompressionError: it failed, or hangs.
    """
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-c", *arguments],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired as error:
        raise CompressionError(f"opening {bundle} in a fresh process took over {_TIMEOUT_S} s; try again") from error
    if child.returncode != 0:
        reason = (child.stderr.strip().splitlines() or ["it wrote nothing to stderr"])[-1]
        raise CompressionError(f"opening {bundle} in a fresh process failed ({reason}); see `pocketrec prove {bundle}`")
    return child.stdout


def _interpreter_name() -> str:
    for module, (name, package) in _INTERPRETERS.items():
        if module in sys.modules:
            return f"{name} {metadata.version(package)}"
    return "unknown"


def _fields(status: str) -> dict[str, int]:
    """Return the sizes in the text of /proc/self/status, in bytes; `ru_maxrss` would count what the parent held."""
    lines = (line.split() for line in status.splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if len(words) == 3 and words[2] == "kB"}
