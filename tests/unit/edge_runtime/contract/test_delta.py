"""Deltas: what is made comes back byte by byte; what nobody honest would make is refused before it costs anything."""

import contextlib
import itertools
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.contract.delta import KINDS, PATCH_MAGIC, DeltaLimits, apply_delta, encode_patch
from edge_runtime.contract.errors import DeltaError
from pocketrec.publishing import deltas
from pocketrec.publishing.deltas import make_delta, tensor_ranges

MODEL = (Path(__file__).parents[3] / "data" / "toy" / "encoder.tflite").read_bytes()
BASE = bytes(range(256)) * 40


def retrained(model: bytes, *, every: int = 3) -> bytes:
    """The model with each `every`-th byte of its tensors moved by one."""
    changed = bytearray(model)
    for start, length in tensor_ranges(model).values():
        for place in range(start, start + length, every):
            changed[place] = (changed[place] + 1) % 256
    return bytes(changed)


def patch(*instructions, differences=b"", extra=b""):
    return encode_patch(np.array(instructions, np.int64).T.reshape(3, -1), differences, extra)


def apply_patch(base, delta, length, **limits):
    return apply_delta(base, delta, kind="tensors", result_bytes=length, limits=DeltaLimits(**limits))


pieces = st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=6)


@given(pieces, pieces, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_zstd_gives_back_the_result(common, other, chance):
    base = b"".join(common)
    mixed = [*common, *other]
    chance.shuffle(mixed)
    result = b"".join(mixed)
    delta = deltas._by_zstd(base, result)
    assert apply_delta(base, delta.data, kind=delta.kind, result_bytes=len(result)) == result


@pytest.mark.parametrize("every", [1, 3, 50])
def test_tensors_are_subtracted(every):
    new = retrained(MODEL, every=every)
    delta = deltas._by_tensors(MODEL, new)
    assert apply_delta(MODEL, delta.data, kind=delta.kind, result_bytes=len(new)) == new


def test_tensor_that_moved_is_found_by_its_number():
    """The same buffers behind a longer head, as when a description in the model grows."""
    ranges = tensor_ranges(MODEL)
    start, length = max(ranges.values(), key=lambda place: place[1])
    moved = MODEL[:start] + bytes(64) + MODEL[start:]
    stretches = deltas._with_gaps([deltas._Stretch(start, start + 64, length)], len(MODEL), len(moved))
    delta = deltas._subtracted(MODEL, moved, stretches)
    assert apply_patch(MODEL, delta, len(moved)) == moved


@pytest.mark.parametrize(("result", "smallest"), [(retrained(MODEL), "tensors"), (MODEL[:-100] + b"cut", "zstd")])
def test_smallest_kind_is_chosen(result, smallest):
    makers = (deltas._by_zstd, deltas._by_tensors)
    sizes = {delta.kind: len(delta.data) for delta in (make(MODEL, result) for make in makers)}
    made = make_delta(MODEL, result)
    assert made.kind == smallest and len(made.data) == sizes[smallest] == min(sizes.values())


def test_file_that_has_nothing_in_common_is_sent_whole():
    chance = np.random.default_rng(0)
    base, result = (chance.integers(0, 256, 5_000, np.uint8).tobytes() for _ in range(2))
    assert make_delta(base, result) is None


def test_base_or_result_that_a_device_cannot_hold_twice_gets_no_dictionary(monkeypatch):
    half = BASE[: len(BASE) // 2]
    monkeypatch.setattr(deltas, "LARGEST_DICTIONARY_FILE_BYTES", len(BASE))
    assert make_delta(BASE, half).kind == make_delta(half, BASE).kind == "zstd"
    monkeypatch.setattr(deltas, "LARGEST_DICTIONARY_FILE_BYTES", len(BASE) - 1)
    assert make_delta(BASE, half) is None and make_delta(half, BASE) is None
    assert make_delta(b"", BASE).kind == "zstd" and make_delta(MODEL, retrained(MODEL)).kind == "tensors"


def test_empty_base_compresses_the_file():
    made = make_delta(b"", BASE)
    assert made.kind == "zstd"
    assert apply_delta(b"", made.data, kind="zstd", result_bytes=len(BASE)) == BASE


@pytest.mark.parametrize("data", [b"", b"TFL3", b"\xff" * 8, b"\xff\xff\xff\x7fTFL3" + bytes(40), MODEL[:200]])
def test_file_that_is_no_model_has_no_tensors(data):
    assert isinstance(tensor_ranges(data), dict)


# Attacks


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_base_does_not_give_the_result(kind):
    new = retrained(MODEL)
    makers = {"tensors": "_by_tensors", "zstd": "_by_zstd"}
    delta = getattr(deltas, makers[kind])(MODEL, new)
    for wrong in (b"", MODEL[:500], MODEL[::-1]):
        with contextlib.suppress(DeltaError):
            assert apply_delta(wrong, delta.data, kind=kind, result_bytes=len(new)) != new


def test_decompression_bomb_of_zstd_is_not_unpacked():
    bomb = zstandard.compress(bytes(50_000_000), 19)
    with pytest.raises(DeltaError, match=r"more than the 1000 bytes|too much memory"):
        apply_delta(b"x" * 1000, bomb, kind="zstd", result_bytes=1000)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_decompression_bomb_inside_a_patch_is_not_unpacked(which):
    whole = patch((4, 4, 0), differences=bytes(4), extra=b"more")
    frames = [zstandard.compress(part) for part in (np.array([4, 4, 0], "<i8").tobytes(), bytes(4), b"more")]
    frames[which] = zstandard.compress(bytes(50_000_000), 19)
    start = len(PATCH_MAGIC) + 32
    header = np.array([1, *map(len, frames)], "<u8").tobytes()
    bomb = whole[: len(PATCH_MAGIC)] + header + b"".join(frames)
    assert len(whole) > start
    with pytest.raises(DeltaError, match=r"more than the|too much memory"):
        apply_patch(BASE, bomb, 8)


def test_result_that_is_out_of_proportion_is_refused_unread():
    with pytest.raises(DeltaError, match="no honest delta"):
        apply_delta(b"", zstandard.compress(bytes(10**6), 19), kind="zstd", result_bytes=10**6)


def test_result_above_the_limit_is_refused_unread():
    with pytest.raises(DeltaError, match="are allowed"):
        apply_patch(BASE, b"", 1001, result_bytes=1000)


def test_too_many_instructions_are_refused_unread():
    with pytest.raises(DeltaError, match="instructions"):
        apply_patch(BASE, patch(*[(1, 0, 0)] * 20, differences=bytes(20)), 20, instructions=10)


def test_delta_that_takes_too_long_is_given_up():
    ticks = itertools.count(step=50)
    delta = patch(*[(1, 0, 0)] * 20_000, differences=bytes(20_000))
    with pytest.raises(DeltaError, match="longer than it may"):
        apply_delta(bytes(20_000), delta, kind="tensors", result_bytes=20_000, clock=lambda: next(ticks))


@pytest.mark.parametrize(
    ("instructions", "message"),
    [
        ([(4, 0, -8), (4, 0, 0)], "outside the base"),
        ([(4, 0, len(BASE)), (4, 0, 0)], "outside the base"),
        ([(-4, 12, 0)], "neither base nor result"),
        ([(4, 0, 2**62), (4, 0, 2**62)], "neither base nor result"),
        ([(2**62, 0, 0), (2**62, 0, 0)], "neither base nor result"),
        ([(4, 0, 0)], "8 were expected"),
        ([(8, 8, 0)], "8 were expected"),
    ],
)
def test_instruction_outside_its_files_is_refused(instructions, message):
    with pytest.raises(DeltaError, match=message):
        apply_patch(BASE, patch(*instructions, differences=bytes(8), extra=b""), 8)


def test_parts_that_do_not_add_up_are_refused():
    whole = patch((4, 4, 0), differences=bytes(4), extra=b"more")
    for broken in (whole[:-1], whole + b"x", whole[:20], b"", b"PKRPATCH", b"nonsense" * 10):
        with pytest.raises(DeltaError):
            apply_patch(BASE, broken, 8)


def test_unknown_kind_is_refused():
    with pytest.raises(DeltaError, match="update the runtime"):
        apply_delta(BASE, b"x" * 500, kind="xdelta", result_bytes=8)


@given(st.binary(max_size=400), st.integers(0, 400), st.sampled_from(KINDS))
@settings(max_examples=150, deadline=None)
def test_garbage_is_an_error_of_ours(garbage, length, kind):
    for data in (garbage, PATCH_MAGIC + garbage):
        with contextlib.suppress(DeltaError):
            assert len(apply_delta(BASE, data, kind=kind, result_bytes=length)) == length


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_flipped_byte_never_gives_the_result(data):
    new = retrained(MODEL, every=7)
    delta = bytearray(deltas._by_tensors(MODEL, new).data)
    delta[data.draw(st.integers(0, len(delta) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        made = apply_delta(MODEL, bytes(delta), kind="tensors", result_bytes=len(new))
    except DeltaError:
        return
    # What zstd does not notice the digest does: the updater compares it before anything is installed.
    assert len(made) == len(new)
