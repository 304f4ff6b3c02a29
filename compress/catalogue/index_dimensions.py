"""Reduces the dimensions of a large catalogue's vector index.

The index only chooses candidates, which are rescored exactly. So it can leave out the directions in which queries hardly
differ. These are computed from the encoder's vocabulary, not from the catalogue: when products change, the rows of the
other products keep their bytes, and an update stays small.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from compress.catalogue.vector_index import convert_catalogue
from edge_runtime.contract.atomic_files import write_bytes_atomically
from edge_runtime.contract.bundle import TOKENIZER_FILE, VECTOR_INDEX_FILE
from edge_runtime.contract.text import normalize_text
from edge_runtime.contract.types import Float32

NARROWED_FROM = 16_384
"""With fewer products the full index takes less time than every other part of a search."""
LEAST_RECALL = 0.999
"""At most three of the 3,000 nearest products of `_QUERIES` queries may be missed."""

_STEP = 8  # gives 15 widths to try of 128 dimensions
_TOP = 10  # the places of a page, which is what recall is measured on everywhere else
_TOKENS = 8_192  # a sample of the vocabulary, so that encoding it takes seconds
_QUERIES = 300  # with `_TOP` products each they make one thousandth of recall three products
_BLOCK_ROWS = 65_536  # 64 queries by so many products are 16 MB of scores

Encode = Callable[[str], Float32]


def narrow_vector_index(
    folder: Path, item_vectors: Float32, *, candidates: int, encode: Encode, texts: Sequence[str]
) -> int:
    """Replace a large catalogue's index by one with the fewest axes that suffice; return their number.

    Stopped halfway, the old index is still there. A small catalogue keeps its index, and so does one that needs all axes.

    Args:
        folder: where the bundle is put together, with its tokenizer.
        item_vectors: float32 [products, dim], unit rows.
        candidates: how many rows the vector index returns.
        encode: text -> unit vector float32 [dim], as the device does.
        texts: what people search for; the axes suffice when these find their nearest products.

    Raises:
        CompressionError: the converter refuses the graph.
        StorageError: the disk is full, read-only or not permitted.
    """
    dim = item_vectors.shape[1]
    if len(item_vectors) < NARROWED_FROM or not texts:
        return dim
    chosen = texts[:: -(-len(texts) // _QUERIES)]
    axes = principal_axes(np.stack([encode(token) for token in vocabulary(folder / TOKENIZER_FILE)]))
    queries = np.stack([encode(text) for text in chosen])
    width = sufficient_width(item_vectors, axes, queries, candidates)
    if width < dim:
        index = convert_catalogue(item_vectors, candidates=candidates, axes=np.ascontiguousarray(axes[:, :width]))
        write_bytes_atomically(folder / VECTOR_INDEX_FILE, index)
    return width


def principal_axes(vectors: Float32) -> Float32:
    """Return float32 [dim, dim]: orthonormal columns, those along which `vectors` ([n, dim]) are longest first."""
    moments = vectors.astype(np.float64).T @ vectors.astype(np.float64)
    return np.ascontiguousarray(np.linalg.eigh(moments)[1][:, ::-1], dtype=np.float32)


def sufficient_width(item_vectors: Float32, axes: Float32, queries: Float32, candidates: int) -> int:
    """Return how many of the first axes suffice for recall@10 of `LEAST_RECALL`; all of them when fewer do not.

    It is one step more than these queries take, for those that are not among them.

    Args:
        item_vectors: float32 [products, dim], unit rows.
        axes: float32 [dim, dim], orthonormal columns.
        queries: float32 [queries, dim], unit rows, or zero.
        candidates: how many rows are rescored exactly.
    """
    known = queries[np.any(queries != 0, axis=1)]
    dim = item_vectors.shape[1]
    if not len(known) or candidates >= len(item_vectors):
        return dim
    wanted = _best_rows(item_vectors, known, _TOP)
    for width in range(_STEP, dim, _STEP):
        kept = axes[:, :width]
        found = _best_rows(_int8(item_vectors @ kept), _int8(known @ kept), candidates)
        shared = sum(len(np.intersect1d(one, other)) for one, other in zip(wanted, found, strict=True))
        if shared >= LEAST_RECALL * wanted.size:
            return min(dim, width + _STEP)
    return dim


def _best_rows(items: Float32, queries: Float32, count: int) -> npt.NDArray[np.intp]:
    """Return int [queries, count], the rows of the highest dot products; a block of queries at a time."""
    step = max(1, 64 * _BLOCK_ROWS // len(items))
    parts = []
    for start in range(0, len(queries), step):
        scores = queries[start : start + step] @ items.T
        parts.append(np.argpartition(scores, -count, axis=1)[:, -count:])
    return np.concatenate(parts)


def _int8(rows: Float32) -> Float32:
    """Return rows as int8 weights with a scale each would have them."""
    scales = np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-9) / 127
    return np.asarray(np.rint(rows / scales) * scales, dtype=np.float32)


def vocabulary(path: Path) -> list[str]:
    """Return at most `_TOKENS` words and pieces of words of a tokenizer, spread over all, in the order of their ids."""
    numbers = Tokenizer.from_file(str(path)).get_vocab()
    words = [word.removeprefix("##") for word in sorted(numbers, key=lambda word: numbers[word])]
    plain = [word for word in words if normalize_text(word) and not (word.startswith("[") and word.endswith("]"))]
    return plain[:: -(-len(plain) // _TOKENS) or 1]
