"""A fresh process that opens a bundle and answers once, as a device does.

What a builder's process has loaded already would hide the time and memory that a device pays.
"""

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from compress.errors import CompressionError
from edge_runtime.recommender import Recommender

_INTERPRETERS = {
    "ai_edge_litert.interpreter": ("LiteRT", "ai-edge-litert"),
    "tflite_runtime.interpreter": ("tflite-runtime", "tflite-runtime"),
}
_TIMEOUT_S = 120
# The child finds our rooms wherever the user stands, and a file of theirs never shadows one. The runtime is imported
# first and timed, before anything of the builder.
_PROGRAM = """
import sys, time
sys.path.insert(0, sys.argv[1])
started = time.perf_counter()
import edge_runtime.recommender
import_s = time.perf_counter() - started
from compress.cold_start import answer_once
answer_once(sys.argv[2], sys.argv[3], num_threads=int(sys.argv[4]), import_s=import_s)
"""


@dataclass(frozen=True)
class ColdStart:
    """What a device pays before its first answer.

    Attributes:
        interpreter: name and version of what ran the models.
        import_ms: loading the runtime.
        open_ms: opening the bundle: digests, and loading the interpreter.
        first_answer_ms: the first search.
        memory_before_bytes: resident memory of the process once the runtime is loaded.
        memory_peak_bytes: the most that was resident up to the first answer; both 0 where /proc is missing.
    """

    interpreter: str
    import_ms: float
    open_ms: float
    first_answer_ms: float
    memory_before_bytes: int
    memory_peak_bytes: int


def measure_cold_start(bundle: Path, query: str, *, num_threads: int = 1) -> ColdStart:
    """Open `bundle` in a fresh process and search for `query`.

    Raises:
        CompressionError: the process failed.
    """
    root = Path(__file__).resolve().parents[1]
    try:
        child = subprocess.run(
            [sys.executable, "-P", "-c", _PROGRAM, str(root), str(bundle.resolve()), query, str(num_threads)],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CompressionError(f"opening {bundle} in a fresh process took over {_TIMEOUT_S} s; try again") from error
    if child.returncode != 0:
        reason = (child.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise CompressionError(f"opening {bundle} in a fresh process failed ({reason}); see `pocketrec prove {bundle}`")
    return ColdStart(**json.loads(child.stdout))


def answer_once(bundle: str, query: str, *, num_threads: int, import_s: float) -> None:
    """Open, search once, write a ColdStart as JSON to stdout; this is what the fresh process runs."""
    before = _resident_bytes("VmRSS")
    started = time.perf_counter()
    with Recommender.open(bundle, num_threads=num_threads) as recommender:
        opened = time.perf_counter()
        recommender.search(query)
        answered = time.perf_counter()
    result = ColdStart(
        interpreter=_interpreter_name(),
        import_ms=import_s * 1e3,
        open_ms=(opened - started) * 1e3,
        first_answer_ms=(answered - opened) * 1e3,
        memory_before_bytes=before,
        memory_peak_bytes=_resident_bytes("VmHWM"),
    )
    sys.stdout.write(json.dumps(asdict(result)))


def _interpreter_name() -> str:
    for module, (name, package) in _INTERPRETERS.items():
        if module in sys.modules:
            return f"{name} {metadata.version(package)}"
    return "unknown"


def _resident_bytes(field: str) -> int:
    """Return a field of /proc/self/status; `ru_maxrss` would count what the parent held when it forked."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), 0)
