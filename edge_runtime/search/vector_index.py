"""Vectors -> rows of the catalogue: the int8 index finds candidates, the float16 vectors give the exact order."""

import logging
import mmap
import time

import numpy as np
import numpy.lib.format as npy_format
import numpy.typing as npt

from edge_runtime.contract.bundle import ITEM_VECTORS_FILE, VECTOR_INDEX_FILE, Bundle
from edge_runtime.contract.errors import BundleFormatError, InputShapeError, ModelLoadError
from edge_runtime.contract.types import Float32, Mask, Rows
from edge_runtime.inference.interpreter import Model
from edge_runtime.inference.mapped_pages import release_mapping
from edge_runtime.search.ranking import Ranked, best_rows

_LOG = logging.getLogger(__name__)
_SIGNATURE = "top"
_SCAN_ROWS = 1_024  # of 128 dimensions they are 0.5 MB as float32, which stays in the processor's cache
_RELEASE_INTERVAL_S = 1.0  # far above the 0.05 ms that the next search pays
_FLOAT_BITS = np.int32(-0x7000_2000)  # sign, five bits of exponent, ten of mantissa, as they lie after the shift
_BIAS = np.float32(2.0**112)  # the exponents of float32 and float16 are biased by 127 and 15


class Catalogue:
    """The item vectors of a bundle; may be used from any thread."""

    def __init__(self, bundle: Bundle, *, num_threads: int = 1, interpreter: str | None = None) -> None:
        """Map the vectors and load the index; where the interpreter refuses it, searches scan all vectors.

        Raises:
            BundleFormatError: the vectors or the index are not what the manifest says.
        """
        self._dim = bundle.manifest.space.dim
        self._spec = bundle.manifest.catalogue
        self._vectors = _map_vectors(bundle)
        self._released_at = -_RELEASE_INTERVAL_S
        self._index: Model | None
        path = bundle.path(VECTOR_INDEX_FILE)
        try:
            self._index = Model(path, num_threads=num_threads, interpreter=interpreter)
        except ModelLoadError as error:
            _LOG.warning("every search scans all item vectors, because %s", error)
            self._index = None
            return
        expected = ((1, self._dim), (1, self._spec.candidates), (1, self._spec.candidates))
        try:
            found = (
                self._index.input_shape(_SIGNATURE, "query"),
                self._index.output_shape(_SIGNATURE, "scores"),
                self._index.output_shape(_SIGNATURE, "rows"),
            )
        except InputShapeError as error:
            raise BundleFormatError(str(error)) from error
        if found != expected:
            raise BundleFormatError(f"{path} has shapes {found}, the manifest says {expected}; get the bundle again")

    def __len__(self) -> int:
        return len(self._vectors)

    @property
    def has_index(self) -> bool:
        """Whether the int8 index runs here; without it every search is an exact scan."""
        return self._index is not None

    def propose(self, query: Float32) -> Ranked:
        """Return the index's candidates in its own order, with approximate scores; without an index, the exact ones.

        Args:
            query: float32 [dim], unit length, or zero.
        """
        if self._index is None or not query.any():
            return self.scan(query, self._spec.candidates, None)
        found = self._index.run(_SIGNATURE, {"query": query.reshape(1, -1)})
        rows = found["rows"][0]
        if rows.view(np.uint32).max() >= len(self):  # a row below 0 is a large one then
            raise BundleFormatError(
                f"the vector index names rows {rows.min()} to {rows.max()} of {len(self)}; get the bundle again"
            )
        return Ranked(rows, found["scores"][0])

    def rescore(self, query: Float32, proposed: Ranked) -> Ranked:
        """Return proposed rows by exact cosine with `query`, best first, ties by row."""
        return best_rows(proposed.rows, self.cosines(query, proposed.rows), len(proposed.rows))

    def top(self, query: Float32, count: int, *, eligible: Mask | None = None, nearest: Ranked | None = None) -> Ranked:
        """Return the rows nearest to `query` by exact cosine, best first, ties by row.

        Args:
            query: float32 [dim], unit length.
            count: how many rows; fewer when fewer are eligible.
            eligible: bool [products], which rows may be returned; None for all.
            nearest: what `rescore` gave for this query, when it was asked already.
        """
        if count <= self._spec.candidates and (nearest is not None or (self._index is not None and query.any())):
            found = self.rescore(query, self.propose(query)) if nearest is None else nearest
            if eligible is not None:
                kept = eligible[found.rows]
                found = Ranked(found.rows[kept], found.scores[kept])
            if len(found.rows) >= count:
                return Ranked(found.rows[:count], found.scores[:count])
        return self.scan(query, count, eligible)

    def cosines(self, query: Float32, rows: Rows) -> Float32:
        """Return float32 [rows], the exact cosines of `query` (float32 [dim], unit length) with some rows."""
        scores = np.empty(len(rows), dtype=np.float32)
        everything = len(rows) == len(self) > _SCAN_ROWS and np.array_equal(rows, np.arange(len(self)))
        for start in range(0, len(rows), _SCAN_ROWS):
            part = slice(start, start + _SCAN_ROWS)
            vectors = self._vectors[part] if everything else self._vectors[rows[part]]
            # Not `@`: its threads cost more than they bring, and its rounding depends on how many rows are asked for.
            scores[part] = np.einsum("ij,j->i", widened(vectors), query)
        return scores

    def vectors_of(self, rows: Rows) -> Float32:
        """Return float32 [rows, dim], the stored vectors."""
        return widened(self._vectors[rows])

    def scan(self, query: Float32, count: int, eligible: Mask | None = None) -> Ranked:
        """Return the rows nearest to `query` by comparing it with all eligible ones: what `top` is measured against."""
        rows = np.arange(len(self), dtype=np.int32) if eligible is None else np.flatnonzero(eligible).astype(np.int32)
        return best_rows(rows, self.cosines(query, rows), count)

    def release_pages(self) -> None:
        """Take the pages of the vectors out of this process, at most once a second; the system's cache keeps them.

        A few hundred scattered rows bring most of a file into the memory that counts as this process's. Giving it back
        costs the next search some 0.05 ms, so those that follow each other fast do not.
        """
        now = time.monotonic()
        mapping = self._vectors.base.base if isinstance(self._vectors.base, np.memmap) else None
        if now - self._released_at >= _RELEASE_INTERVAL_S and isinstance(mapping, mmap.mmap):
            self._released_at = now
            release_mapping(mapping)


def widened(halves: npt.NDArray[np.float16]) -> Float32:
    """Return finite float16 values as float32, exactly, some seven times faster than `astype` in NumPy.

    The sign and the other bits move to their places in a float32, whose exponent is then off by the difference of the
    two biases; a multiplication, which is exact, puts it right, also for subnormal values.
    """
    bits = halves.view(np.int16).astype(np.int32)
    bits <<= 13
    bits &= _FLOAT_BITS
    values = bits.view(np.float32)
    values *= _BIAS
    return values


def _map_vectors(bundle: Bundle) -> npt.NDArray[np.float16]:
    path = bundle.path(ITEM_VECTORS_FILE)
    expected = (bundle.manifest.catalogue.products, bundle.manifest.space.dim)
    try:
        vectors = npy_format.open_memmap(path, mode="r")
    except (ValueError, OSError) as error:
        raise BundleFormatError(f"{path} is not an array of version 1.0 ({error}); get the bundle again") from error
    if vectors.dtype != np.float16 or vectors.shape != expected or 0 in expected:
        raise BundleFormatError(
            f"{path} holds {vectors.dtype} {vectors.shape}, expected float16 {expected}; get the bundle again"
        )
    return np.asarray(vectors)
