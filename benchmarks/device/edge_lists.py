"""Inverted lists, a candidate for very large catalogues: k-means on a sample, then every row to its nearest center."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.types import Float32, Progress

SAMPLE_PER_LIST = 64
ROUNDS = 8
_BLOCK = 16_384


@dataclass(frozen=True, eq=False)
class Lists:
    """Inverted lists of a catalogue.

    Attributes:
        centers: float32 [lists, dim].
        starts: int32 [lists + 1], where each list begins in `rows`.
        rows: int32 [products], list after list.
        vectors: int8 [products, dim], 127 times the unit vectors, in the order of `rows`.
    """

    centers: Float32
    starts: npt.NDArray[np.int32]
    rows: npt.NDArray[np.int32]
    vectors: npt.NDArray[np.int8]


def make_lists(item_vectors: Float32, count: int, *, seed: int = 0, progress: Progress | None = None) -> Lists:
    """Return `count` inverted lists of unit vectors float32 [products, dim]; equal arguments give equal lists.

    Args:
        item_vectors: rows of unit length.
        count: how many lists, at most `products`.
        seed: of the sample and of the first centers.
        progress: told after each round of k-means and after the assignment.
    """
    rng = np.random.default_rng(seed)
    size = min(len(item_vectors), count * SAMPLE_PER_LIST)
    sample = item_vectors[np.sort(rng.choice(len(item_vectors), size, replace=False))]
    centers = sample[rng.choice(size, count, replace=False)].copy()
    for number in range(ROUNDS):
        nearest = _nearest(sample, centers)
        sums = np.zeros_like(centers)
        np.add.at(sums, nearest, sample)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        empty = lengths[:, 0] == 0
        centers = np.where(empty[:, None], centers, sums / np.where(lengths == 0, 1, lengths)).astype(np.float32)
        centers[empty] = sample[rng.choice(size, int(empty.sum()))]
        if progress:
            progress(number + 1, ROUNDS + 1)
    nearest = _nearest(item_vectors, centers)
    rows = np.argsort(nearest, kind="stable").astype(np.int32)
    starts = np.concatenate([[0], np.cumsum(np.bincount(nearest, minlength=count))]).astype(np.int32)
    vectors = np.empty(item_vectors.shape, dtype=np.int8)
    for start in range(0, len(rows), _BLOCK):
        part = item_vectors[rows[start : start + _BLOCK]]
        vectors[start : start + _BLOCK] = np.rint(part * 127).clip(-127, 127).astype(np.int8)
    if progress:
        progress(ROUNDS + 1, ROUNDS + 1)
    return Lists(centers, starts, rows, vectors)


def _nearest(vectors: Float32, centers: Float32) -> npt.NDArray[np.int64]:
    nearest = np.empty(len(vectors), dtype=np.int64)
    for start in range(0, len(vectors), _BLOCK):
        nearest[start : start + _BLOCK] = np.argmax(vectors[start : start + _BLOCK] @ centers.T, axis=1)
    return nearest
