"""What memory a device needs above its imports to make a large file from a delta.

    python -m benchmarks.fleet.faults.delta_memory KIND BASE_SHA256 RESULT_SHA256 RESULT_BYTES BASE DELTA MADE

applies one delta as an update does and prints the bytes by which this process grew at most; BASE may be empty.
"""

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import zstandard

from benchmarks.fleet.faults.table import Row
from edge_runtime.contract.delta import encode_patch
from edge_runtime.contract.release import NO_BASE_SHA256, DeltaNote
from edge_runtime.updates.staging import apply_to_file
from pocketrec.publishing.deltas import LARGEST_DICTIONARY_FILE_BYTES

_REQUIRED_BYTES = 120_000_000
_CHANGE_EVERY = 100_000


def measure_delta_memory(*, file_bytes: int) -> list[Row]:
    """Return the growth by a patch of `file_bytes`, by zstd without a base, and by zstd with the longest base."""
    base = np.random.default_rng(0).integers(0, 256, file_bytes, np.uint8)
    result = base.copy()
    result[::_CHANGE_EVERY] += 1
    patch = encode_patch(np.array([[file_bytes, 0, 0]], np.int64).T, (result - base).tobytes(), b"")
    # Half noise: a file that packs to something, as models and catalogues do.
    noisy = base & 0x0F
    short = min(file_bytes, LARGEST_DICTIONARY_FILE_BYTES)
    old, new = base[:short].tobytes(), result[:short].tobytes()
    return [
        _row("tensors", base.tobytes(), result.tobytes(), patch),
        _row("zstd", b"", noisy.tobytes(), _by_zstd(b"", noisy.tobytes())),
        _row("zstd", old, new, _by_zstd(old, new)),
    ]


def growth_bytes(kind: str, base: bytes, result: bytes, delta: bytes, folder: Path) -> int:
    """Return what a process grows by while it makes `result`; leaves its files in `folder`."""
    files = [folder / name for name in ("base", "delta", "made")]
    files[0].write_bytes(base)
    files[1].write_bytes(delta)
    digests = [hashlib.sha256(data).hexdigest() if data else NO_BASE_SHA256 for data in (base, result)]
    command = [sys.executable, "-m", "benchmarks.fleet.faults.delta_memory", kind, *digests, str(len(result))]
    done = subprocess.run([*command, *map(str, files)], stdout=subprocess.PIPE, text=True, check=True)
    return int(done.stdout)


def _by_zstd(base: bytes, result: bytes) -> bytes:
    # Level 3 in the place of 19: the windows are the same, and they are what is measured.
    parameters = zstandard.ZstdCompressionParameters.from_level(
        3, window_log=min(27, (len(base) + len(result)).bit_length()), enable_ldm=True, source_size=len(result)
    )
    dictionary = zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT) if base else None
    return zstandard.ZstdCompressor(dict_data=dictionary, compression_params=parameters).compress(result)


def _row(kind: str, base: bytes, result: bytes, delta: bytes) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        grown = growth_bytes(kind, base, result, delta, Path(folder))
    of = "with a base" if base else "from nothing"
    return Row(
        f"memory above imports for a delta, `{kind}` {of}, {len(result) / 1e6:g} MB made of {len(delta) / 1e6:.1f} MB",
        f"≤ {_REQUIRED_BYTES / 1e6:g} MB",
        f"{grown / 1e6:.0f} MB",
        met=grown <= _REQUIRED_BYTES,
    )


def _kilobytes(name: str) -> int:
    return int(Path("/proc/self/status").read_text(encoding="ascii").split(name)[1].split()[0])


def _apply(note: DeltaNote, base: Path, delta: Path, made: Path) -> int:
    before = _kilobytes("VmRSS:")
    apply_to_file(note, base if base.stat().st_size else None, delta, made)
    # The peak of this process alone: `ru_maxrss` begins with that of the process which started it.
    return (_kilobytes("VmHWM:") - before) * 1024


if __name__ == "__main__":
    kind, base_sha256, result_sha256, result_bytes, *paths = sys.argv[1:]
    note = DeltaNote(kind=kind, base_sha256=base_sha256, result_sha256=result_sha256, result_bytes=int(result_bytes))
    sys.stdout.write(f"{_apply(note, *map(Path, paths))}\n")
