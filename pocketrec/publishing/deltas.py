"""Chooses the deltas of a publication, and finds the smallest one between two files.

They lead from the files of earlier releases, and from nothing, to those of the new one. Two ways are tried. `tensors`
reads which bytes of two .tflite files are the same tensor and subtracts them, which gives small numbers for a model that
was trained further. `zstd` uses the base as its dictionary, which suits all others.
docs/decisions/0007-deltas-without-bsdiff.md has the measurement behind this choice.
`edge_runtime/contract/delta.py` applies them.
"""

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import zstandard
from tuf.api.metadata import Targets

from edge_runtime.contract.bundle import Bundle, Manifest, decode_manifest
from edge_runtime.contract.delta import encode_patch
from edge_runtime.contract.errors import BundleError
from edge_runtime.contract.release import NO_BASE_SHA256, DeltaNote, ReleaseNote, delta_target
from sync_server.repository.releases import DeltaFile

WORTHWHILE = 0.9
"""A delta must be smaller than this share of the whole file, or the whole file is sent."""

MIN_FILE_BYTES = 2_000
"""Shorter files are not worth a second target."""

LARGEST_DICTIONARY_FILE_BYTES = 50_000_000
"""No longer base or result gets a delta of kind `zstd`: a device holds the base as dictionary and the result as window.

100 MB in all are measured (`make bench-faults`). A smaller window would let go of the dictionary. The device fetches a
longer file by tensors or compressed by itself.
"""

_MIN_TENSOR_BYTES = 16
_LEVEL = 19
"""The best level, 22, changes an update by 1.3% at most (docs/decisions/0007-deltas-without-bsdiff.md)."""
_LARGEST_WINDOW_LOG = 27
"""The longest window that a zstd reader accepts by default: 128 MiB."""


@dataclass(frozen=True)
class Delta:
    """A delta that was made: how (`delta.KINDS`), and its bytes."""

    kind: str
    data: bytes


MakeDelta = Callable[[bytes, bytes], Delta | None]
"""Takes base and result; gives the delta that is published, or None."""

Read = Callable[[str], bytes | None]
"""Gives the published file with a SHA-256, or None when it cannot be had."""


@dataclass(frozen=True)
class MadeDelta:
    """A delta and its bytes."""

    file: DeltaFile
    data: bytes

    def content(self) -> BytesIO:
        """Return the bytes as something to read."""
        return BytesIO(self.data)


def make_deltas(
    bundle: Bundle, *, earlier: Iterable[ReleaseNote], known: Targets | None, read: Read, make: MakeDelta
) -> Iterator[MadeDelta]:
    """Make the deltas by which devices come to `bundle`.

    For each file that differs from the file of the same name in an earlier release there may be one, and for each file
    one from nothing: the file compressed, for first installations. What is already among the `known` targets, cannot be
    read, or would hardly be smaller than the whole file is left out.

    Args:
        bundle: what is about to be published.
        earlier: the releases that devices may have.
        known: the targets before.
        read: reads a published file; its SHA-256 is compared here.
        make: finds the smallest delta between two files.
    """
    done = set(known.targets) if known else set()
    manifests = [found for note in earlier if (found := _manifest(note, read)) is not None]
    for artifact in bundle.manifest.artifacts:
        if artifact.length_bytes < MIN_FILE_BYTES:
            continue
        bases = {file.sha256 for old in manifests for file in old.artifacts if file.path == artifact.path}
        for base_sha256 in (NO_BASE_SHA256, *sorted(bases - {artifact.sha256})):
            path = delta_target(base_sha256, artifact.sha256)
            base = b"" if base_sha256 == NO_BASE_SHA256 else _checked(read(base_sha256), base_sha256)
            if path in done or base is None:
                continue
            done.add(path)
            delta = make(base, (bundle.folder / artifact.path).read_bytes())
            if delta is not None:
                note = DeltaNote(
                    kind=delta.kind,
                    base_sha256=base_sha256,
                    result_sha256=artifact.sha256,
                    result_bytes=artifact.length_bytes,
                )
                sha256 = hashlib.sha256(delta.data).hexdigest()
                yield MadeDelta(DeltaFile(note, len(delta.data), sha256), delta.data)


def _checked(data: bytes | None, sha256: str) -> bytes | None:
    return data if data is not None and hashlib.sha256(data).hexdigest() == sha256 else None


def _manifest(note: ReleaseNote, read: Read) -> Manifest | None:
    data = _checked(read(note.bundle_id), note.bundle_id)
    if data is None:
        return None
    try:
        return decode_manifest(data, source=f"the manifest of release {note.release}")
    except BundleError:
        # Published by a newer builder, or under older rules: it is no base, and nothing is lost but bytes.
        return None


@dataclass(frozen=True)
class _Stretch:
    """`length` bytes that base and result have in common, up to small differences."""

    base_start: int
    result_start: int
    length: int


def make_delta(base: bytes, result: bytes) -> Delta | None:
    """Return the smallest delta from `base` to `result`, or None when the whole file is hardly larger.

    An empty base gives the result compressed by itself.
    """
    made = [found for make in (_by_tensors, _by_zstd) if (found := make(base, result)) is not None]
    best = min(made, key=lambda delta: len(delta.data), default=None)
    return best if best is not None and len(best.data) < WORTHWHILE * len(result) else None


def _by_zstd(base: bytes, result: bytes) -> Delta | None:
    if base and max(len(base), len(result)) > LARGEST_DICTIONARY_FILE_BYTES:
        return None
    window_log = min(_LARGEST_WINDOW_LOG, max(10, (len(base) + len(result)).bit_length()))
    parameters = zstandard.ZstdCompressionParameters.from_level(
        _LEVEL, window_log=window_log, enable_ldm=len(base) > 1 << 20, source_size=len(result)
    )
    dictionary = zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT) if base else None
    compressor = zstandard.ZstdCompressor(dict_data=dictionary, compression_params=parameters)
    return Delta("zstd", compressor.compress(result))


def _by_tensors(base: bytes, result: bytes) -> Delta | None:
    old, new = tensor_ranges(base), tensor_ranges(result)
    pairs = [
        _Stretch(start, new[name][0], length)
        for name, (start, length) in old.items()
        if name in new and new[name][1] == length >= _MIN_TENSOR_BYTES
    ]
    if not pairs:
        return None
    return Delta("tensors", _subtracted(base, result, _with_gaps(pairs, len(base), len(result))))


def _with_gaps(pairs: list[_Stretch], base_bytes: int, result_bytes: int) -> list[_Stretch]:
    """Return the stretches in the result's order, without overlaps, joined by gaps of equal length on both sides."""
    stretches: list[_Stretch] = []
    base_end = result_end = 0
    for pair in sorted(pairs, key=lambda stretch: stretch.result_start):
        if pair.result_start < result_end:
            continue
        gap = pair.result_start - result_end
        if gap and gap == pair.base_start - base_end:
            stretches.append(_Stretch(base_end, result_end, gap))
        stretches.append(pair)
        base_end, result_end = pair.base_start + pair.length, pair.result_start + pair.length
    rest = result_bytes - result_end
    if rest and rest == base_bytes - base_end:
        stretches.append(_Stretch(base_end, result_end, rest))
    return stretches


def _subtracted(base: bytes, result: bytes, stretches: list[_Stretch]) -> bytes:
    old, new = np.frombuffer(base, np.uint8), np.frombuffer(result, np.uint8)
    columns: list[tuple[int, int, int]] = []
    differences, extra = bytearray(), bytearray()
    result_at = base_at = 0
    for stretch in stretches:
        # What lies before the stretch belongs to the instruction before it, which also moves to the stretch's base.
        _append(columns, copy=0, extra=stretch.result_start - result_at, jump=stretch.base_start - base_at)
        extra += result[result_at : stretch.result_start]
        columns.append((stretch.length, 0, 0))
        base_at, result_at = stretch.base_start + stretch.length, stretch.result_start + stretch.length
        differences += (new[stretch.result_start : result_at] - old[stretch.base_start : base_at]).tobytes()
    _append(columns, copy=0, extra=len(result) - result_at, jump=0)
    extra += result[result_at:]
    return encode_patch(np.array(columns, np.int64).T, bytes(differences), bytes(extra))


def _append(columns: list[tuple[int, int, int]], *, copy: int, extra: int, jump: int) -> None:
    if extra or jump:
        columns.append((copy, extra, jump))


def tensor_ranges(model: bytes) -> dict[str, tuple[int, int]]:
    """Return where the constant tensors of a .tflite file lie: name -> (start, length) in bytes.

    The names are the numbers of the buffers, which converters assign in the order of the graph. Empty for anything
    that is no readable .tflite file.
    """
    if model[4:8] != b"TFL3":
        return {}
    try:
        return _buffers(model)
    except (struct.error, IndexError):
        return {}


def _buffers(model: bytes) -> dict[str, tuple[int, int]]:
    """Read Model.buffers[*].data by the layout of FlatBuffers; the fields' numbers are those of the TFLite schema."""
    found = {}
    buffers = _field(model, _read(model, "<I", 0), 4)
    for index in range(_read(model, "<I", buffers)) if buffers else ():
        entry = buffers + 4 + 4 * index
        data = _field(model, entry + _read(model, "<I", entry), 0)
        if data:
            start, length = data + 4, _read(model, "<I", data)
            if start + length <= len(model):
                found[str(index)] = (start, length)
    return found


def _field(model: bytes, table: int, number: int) -> int:
    """Return where the vector in field `number` of the table at `table` begins, or 0 when the field is not set."""
    vtable = table - _read(model, "<i", table)
    slot = 4 + 2 * number
    if slot >= _read(model, "<H", vtable):
        return 0
    offset = _read(model, "<H", vtable + slot)
    place = table + offset
    return place + _read(model, "<I", place) if offset else 0


def _read(model: bytes, layout: str, at: int) -> int:
    if at < 0:
        raise IndexError(at)
    return int(struct.unpack_from(layout, model, at)[0])
