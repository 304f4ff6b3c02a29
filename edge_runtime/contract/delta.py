"""Deltas: the difference between a base file and a result, and its application (docs/sync-protocol.md).

A delta is one of two formats. `patch` begins with the eight bytes of `PATCH_MAGIC`, then four little-endian unsigned
64-bit numbers: how many instructions, and the lengths of the three zstd frames that follow: instructions, differences,
extra bytes. The instructions are three columns of little-endian signed 64-bit numbers: `copy`, `extra`, `jump`. Each
takes `copy` bytes of the base from the current position, adds as many bytes of the differences (modulo 256), appends
`extra` extra bytes, and moves the position in the base by `jump` from the end of the copy. `zstd` is one zstd frame
whose dictionary is the base.

How a publisher found the instructions does not matter to the reader. A delta is not trusted: every length is compared
with that of the result, which is signed.
"""

import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import zstandard

from edge_runtime.contract.errors import DeltaError

PATCH_MAGIC = b"PKRPATCH"
INSTRUCTION_BYTES = 24
"""Three 64-bit numbers."""
KINDS = ("tensors", "zstd")
"""How a delta was found: tensor by tensor (format `patch`), or by zstd with the base as dictionary."""

_HEADER = struct.Struct("<4Q")
_CHUNK_BYTES = 1 << 20  # unpacked between two looks at the clock: a few milliseconds
_CLOCK_EVERY = 4_096  # instructions between two looks at the clock: a few milliseconds as well
_Bytes = npt.NDArray[np.uint8]
_Columns = npt.NDArray[np.int64]


@dataclass(frozen=True)
class DeltaLimits:
    """How much a delta may ask of a device.

    Attributes:
        result_bytes: longest file that is made from a delta.
        ratio: how many times longer than base and delta together the result may be.
        instructions: most instructions of a patch.
        seconds: longest time one file may take.
    """

    result_bytes: int = 512_000_000
    ratio: int = 100
    instructions: int = 2_000_000
    seconds: float = 120.0


DEFAULT_LIMITS = DeltaLimits()


def apply_delta(
    base: bytes,
    delta: bytes,
    *,
    kind: str,
    result_bytes: int,
    limits: DeltaLimits = DEFAULT_LIMITS,
    clock: Callable[[], float] = time.monotonic,
) -> bytes:
    """Return the file that `delta` makes of `base`: exactly `result_bytes` long. The caller compares its SHA-256.

    Args:
        base: the file that the delta is bound to.
        delta: content of the delta.
        kind: one of `KINDS`.
        result_bytes: the signed length of the result.
        limits: what is allowed.
        clock: monotonic seconds.

    Raises:
        DeltaError: the delta is malformed, belongs to another base, or asks for more than it may.
    """
    if result_bytes > limits.result_bytes:
        raise DeltaError(f"a delta's result has {result_bytes} bytes, {limits.result_bytes} are allowed")
    if result_bytes > limits.ratio * (len(base) + len(delta)):
        raise DeltaError(
            f"{len(delta)} bytes of delta and {len(base)} of base claim to become {result_bytes}, "
            f"more than {limits.ratio} times as many: this is no honest delta"
        )
    watch = _Watch(clock() + limits.seconds, clock)
    if kind == "zstd":
        return _expand(delta, result_bytes, watch, what="delta", base=base)
    if kind == "tensors":
        return _apply_patch(base, delta, result_bytes, limits, watch)
    raise DeltaError(f"this runtime knows no deltas of kind {kind!r}; update the runtime")


@dataclass(frozen=True)
class _Watch:
    deadline: float
    clock: Callable[[], float]

    def check(self) -> None:
        if self.clock() > self.deadline:
            raise DeltaError("the delta takes longer than it may; the whole file is fetched instead")


def _expand(frame: bytes, length: int, watch: _Watch, *, what: str, base: bytes = b"") -> bytes:
    """Return the content of a zstd frame, which must have `length` bytes; never holds more."""
    dictionary = zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT) if base else None
    largest_window = 1 << max(20, (length + len(base)).bit_length() + 1)
    found = bytearray()
    try:
        reader = zstandard.ZstdDecompressor(dict_data=dictionary, max_window_size=largest_window).stream_reader(frame)
        while chunk := reader.read(min(_CHUNK_BYTES, length + 1 - len(found))):
            found += chunk
            if len(found) > length:
                raise DeltaError(f"the {what} unpacks to more than the {length} bytes it may have; it was not read on")
            watch.check()
    except zstandard.ZstdError as error:
        raise DeltaError(f"the {what} cannot be unpacked ({error})") from error
    if len(found) != length:
        raise DeltaError(f"the {what} unpacks to {len(found)} bytes, {length} were expected")
    return bytes(found)


def _apply_patch(base: bytes, delta: bytes, result_bytes: int, limits: DeltaLimits, watch: _Watch) -> bytes:
    start = len(PATCH_MAGIC) + _HEADER.size
    if not delta.startswith(PATCH_MAGIC) or len(delta) < start:
        raise DeltaError("this is no patch: it does not begin as one")
    count, *lengths = _HEADER.unpack(delta[len(PATCH_MAGIC) : start])
    if start + sum(lengths) != len(delta):
        raise DeltaError(f"the patch has {len(delta)} bytes, its parts name {start + sum(lengths)}")
    if count > limits.instructions:
        raise DeltaError(f"the patch has {count} instructions, {limits.instructions} are allowed")
    ends = [start + sum(lengths[: index + 1]) for index in range(3)]
    frames = [delta[end - length : end] for end, length in zip(ends, lengths, strict=True)]
    raw = _expand(frames[0], count * INSTRUCTION_BYTES, watch, what="list of instructions")
    columns = np.frombuffer(raw, "<i8").reshape(3, count).astype(np.int64)
    copied = _checked_copied(columns, len(base), result_bytes)
    differences = _expand(frames[1], copied, watch, what="list of differences")
    extra = _expand(frames[2], result_bytes - copied, watch, what="list of extra bytes")
    source, changes, more = (np.frombuffer(part, np.uint8) for part in (base, differences, extra))
    return _run(columns, source, changes, more, watch).tobytes()


def _checked_copied(columns: _Columns, base_bytes: int, result_bytes: int) -> int:
    """Return how many bytes are copied, once every instruction is known to stay within base and result."""
    copy, extra, jump = columns
    # Before anything is summed: no number may be so large that a sum of them turns round.
    most = max(base_bytes, result_bytes)
    if copy.size and (min(copy.min(), extra.min()) < 0 or max(copy.max(), extra.max(), np.abs(jump).max()) > most):
        raise DeltaError("an instruction of the patch names a length that neither base nor result has")
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(copy + jump)[:-1]]) if copy.size else copy
    used = copy > 0
    if np.any(starts[used] < 0) or np.any((starts + copy)[used] > base_bytes):
        raise DeltaError("an instruction of the patch reads outside the base; it belongs to another file")
    if int(copy.sum()) + int(extra.sum()) != result_bytes:
        raise DeltaError(f"the patch makes {int(copy.sum()) + int(extra.sum())} bytes, {result_bytes} were expected")
    return int(copy.sum())


def _run(columns: _Columns, base: _Bytes, differences: _Bytes, extra: _Bytes, watch: _Watch) -> _Bytes:
    result = np.empty(len(differences) + len(extra), np.uint8)
    at = from_base = from_differences = from_extra = 0
    for number, (copy, more, jump) in enumerate(columns.T.tolist()):
        if number % _CLOCK_EVERY == 0:
            watch.check()
        if copy:
            source, change = base[from_base : from_base + copy], differences[from_differences : from_differences + copy]
            np.add(source, change, out=result[at : at + copy])
        at, from_base, from_differences = at + copy, from_base + copy + jump, from_differences + copy
        result[at : at + more] = extra[from_extra : from_extra + more]
        at, from_extra = at + more, from_extra + more
    return result


def encode_patch(columns: _Columns, differences: bytes, extra: bytes) -> bytes:
    """Return a delta of format `patch`.

    Args:
        columns: int64 [3, instructions]: copy, extra, jump.
        differences: what is added to the copied bytes, modulo 256.
        extra: the bytes that are not copied.
    """
    compressor = zstandard.ZstdCompressor(level=19)
    parts = (columns.astype("<i8").tobytes(), differences, extra)
    frames = [compressor.compress(part) for part in parts]
    return PATCH_MAGIC + _HEADER.pack(columns.shape[1], *map(len, frames)) + b"".join(frames)
