"""How much memory a device needs to make a large file from its delta."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from edge_runtime.contract.delta import encode_patch
from tests.support.source_tree import REPOSITORY

FILE_BYTES = 80_000_000

# The child's own peak: `ru_maxrss` begins with that of the process which started it.
CHILD = """
import sys
from pathlib import Path
from edge_runtime.contract.release import DeltaNote
from edge_runtime.updates.staging import _apply, _Way

def kilobytes(name):
    return int(Path("/proc/self/status").read_text().split(name)[1].split()[0])

kind, base, delta, made = sys.argv[1], *map(Path, sys.argv[4:])
note = DeltaNote(kind=kind, base_sha256=sys.argv[2], result_sha256=sys.argv[3], result_bytes=base.stat().st_size)
before = kilobytes("VmRSS:")
_apply(_Way(None, note, base), delta.read_bytes(), made)
print(kilobytes("VmHWM:") - before)
"""


def growth_bytes(kind, base, result, delta, folder):
    """What a process grows by while it makes `result`."""
    files = [folder / name for name in ("base", "delta", "made")]
    files[0].write_bytes(base)
    files[1].write_bytes(delta)
    digests = [hashlib.sha256(data).hexdigest() for data in (base, result)]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, kind, *digests, *map(str, files)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert hashlib.sha256(files[2].read_bytes()).hexdigest() == digests[1]
    return int(done.stdout) * 1024


@pytest.fixture(scope="module")
def base():
    return np.random.default_rng(0).integers(0, 256, FILE_BYTES, np.uint8)


@pytest.fixture(scope="module")
def result(base):
    changed = base.copy()
    changed[::1_000] += 1
    return changed


def test_tensors_of_a_large_file_are_added_piece_by_piece(base, result, tmp_path):
    columns = np.array([[FILE_BYTES, 0, 0]], np.int64).T
    delta = encode_patch(columns, (result - base).tobytes(), b"")
    assert growth_bytes("tensors", base.tobytes(), result.tobytes(), delta, tmp_path) < FILE_BYTES // 2
