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

import io
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

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
    """Return the file that `delta` makes of `base`, as `delta_pieces` does."""
    pieces = delta_pieces(
        io.BytesIO(base), io.BytesIO(delta), kind=kind, result_bytes=result_bytes, limits=limits, clock=clock
    )
    return b"".join(pieces)


def delta_pieces(
    base: BinaryIO,
    delta: BinaryIO,
    *,
    kind: str,
    result_bytes: int,
    limits: DeltaLimits = DEFAULT_LIMITS,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[bytes]:
    """Give piece by piece the file that `delta` makes of `base`: exactly `result_bytes` long, unless it raises.

    A patch takes memory for its instructions and for some pieces of 1 MB. `zstd` needs the whole base as
    its dictionary, and what of the result the frame's window holds. The caller compares the SHA-256 before it believes what
    was given.

    Args:
        base: the file that the delta is bound to; it is read at places of the delta's choice.
        delta: the delta; `zstd` reads it piece by piece.
        kind: one of `KINDS`.
        result_bytes: the signed length of the result.
        limits: what is allowed.
        clock: monotonic seconds.

    Raises:
        DeltaError: the delta is malformed, belongs to another base, or asks for more than it may.
    """
    base_bytes, delta_bytes = (file.seek(0, io.SEEK_END) for file in (base, delta))
    delta.seek(0)
    if result_bytes > limits.result_bytes:
        raise DeltaError(f"a delta's result has {result_bytes} bytes, {limits.result_bytes} are allowed")
    if result_bytes > limits.ratio * (base_bytes + delta_bytes):
        raise DeltaError(
            f"{delta_bytes} bytes of delta and {base_bytes} of base claim to become {result_bytes}, "
            f"more than {limits.ratio} times as many: this is no honest delta"
        )
    watch = _Watch(clock() + limits.seconds, clock)
    if kind == "zstd":
        yield from _Frame(delta, result_bytes, watch, what="delta", base=base, base_bytes=base_bytes).pieces()
    elif kind == "tensors":
        yield from _patched(base, base_bytes, delta.read(), result_bytes, limits, watch)
    else:
        raise DeltaError(f"this runtime knows no deltas of kind {kind!r}; update the runtime")


@dataclass(frozen=True)
class _Watch:
    deadline: float
    clock: Callable[[], float]

    def check(self) -> None:
        if self.clock() > self.deadline:
            raise DeltaError("the delta takes longer than it may; the whole file is fetched instead")


class _Frame:
    """A zstd frame that must have `length` bytes of content; it is unpacked only as far as it is read."""

    def __init__(
        self,
        frame: bytes | BinaryIO,
        length: int,
        watch: _Watch,
        *,
        what: str,
        base: BinaryIO | None = None,
        base_bytes: int = 0,
    ) -> None:
        self._length, self._left, self._watch, self._what = length, length, watch, what
        dictionary = _dictionary(base) if base is not None and base_bytes else None
        largest_window = 1 << max(20, (length + base_bytes).bit_length() + 1)
        try:
            decompressor = zstandard.ZstdDecompressor(dict_data=dictionary, max_window_size=largest_window)
            self._reader = decompressor.stream_reader(frame)
        except zstandard.ZstdError as error:
            raise DeltaError(f"the {what} cannot be unpacked ({error})") from error

    def read(self, size: int) -> bytes:
        """Return exactly the next `size` bytes, at most as many as are left."""
        self._watch.check()
        found = self._unpacked(size)
        while len(found) < size:
            more = self._unpacked(size - len(found))
            if not more:
                have = self._length - self._left + len(found)
                raise DeltaError(f"the {self._what} unpacks to {have} bytes, {self._length} were expected")
            found += more
        self._left -= size
        return found

    def pieces(self) -> Iterator[bytes]:
        """Give all that is left, by pieces of `_CHUNK_BYTES`."""
        while self._left:
            yield self.read(min(_CHUNK_BYTES, self._left))
        self.finish()

    def finish(self) -> None:
        """Refuse a frame with more in it than its length."""
        if self._unpacked(1):
            raise DeltaError(
                f"the {self._what} unpacks to more than the {self._length} bytes it may have; it was not read on"
            )

    def _unpacked(self, size: int) -> bytes:
        try:
            return self._reader.read(size)
        except zstandard.ZstdError as error:
            raise DeltaError(f"the {self._what} cannot be unpacked ({error})") from error


def _dictionary(base: BinaryIO) -> zstandard.ZstdCompressionDict:
    base.seek(0)
    # zstandard copies the base, and what was read is freed with this call.
    return zstandard.ZstdCompressionDict(base.read(), dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def _patched(
    base: BinaryIO, base_bytes: int, delta: bytes, result_bytes: int, limits: DeltaLimits, watch: _Watch
) -> Iterator[bytes]:
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
    raw = b"".join(_Frame(frames[0], count * INSTRUCTION_BYTES, watch, what="list of instructions").pieces())
    columns = np.frombuffer(raw, "<i8").reshape(3, count).astype(np.int64)
    copied = _checked_copied(columns, base_bytes, result_bytes)
    differences = _Frame(frames[1], copied, watch, what="list of differences")
    extra = _Frame(frames[2], result_bytes - copied, watch, what="list of extra bytes")
    yield from _run(columns, base, differences, extra)
    differences.finish()
    extra.finish()


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


def _run(columns: _Columns, base: BinaryIO, differences: _Frame, extra: _Frame) -> Iterator[bytes]:
    from_base = 0
    made = bytearray()
    for copy, more, jump in columns.T.tolist():
        if copy:
            base.seek(from_base)
        for size in _sizes(copy):
            source = base.read(size)
            if len(source) < size:
                raise DeltaError("the base became shorter while it was read; the whole file is fetched instead")
            change = np.frombuffer(differences.read(size), np.uint8)
            made += (np.frombuffer(source, np.uint8) + change).tobytes()
            if len(made) >= _CHUNK_BYTES:
                yield bytes(made)
                made.clear()
        for size in _sizes(more):
            made += extra.read(size)
            if len(made) >= _CHUNK_BYTES:
                yield bytes(made)
                made.clear()
        from_base += copy + jump
    yield bytes(made)


def _sizes(length: int) -> Iterator[int]:
    """Give the sizes of the pieces of `_CHUNK_BYTES` at most in which `length` bytes are handled."""
    for start in range(0, length, _CHUNK_BYTES):
        yield min(_CHUNK_BYTES, length - start)


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
