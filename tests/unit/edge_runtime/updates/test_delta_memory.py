"""How much memory a device needs to make a large file from its delta."""

import hashlib

import numpy as np

from benchmarks.fleet.faults.delta_memory import growth_bytes
from edge_runtime.contract.delta import encode_patch

FILE_BYTES = 80_000_000


def test_tensors_of_a_large_file_are_added_piece_by_piece(tmp_path):
    base = np.random.default_rng(0).integers(0, 256, FILE_BYTES, np.uint8)
    result = base.copy()
    result[::1_000] += 1
    delta = encode_patch(np.array([[FILE_BYTES, 0, 0]], np.int64).T, (result - base).tobytes(), b"")
    assert growth_bytes("tensors", base.tobytes(), result.tobytes(), delta, tmp_path) < FILE_BYTES // 2
    assert hashlib.sha256((tmp_path / "made").read_bytes()).digest() == hashlib.sha256(result).digest()
