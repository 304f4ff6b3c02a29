"""Compares vector indexes of one size: `python -m benchmarks.device.edge_index`.

Vectors are those of benchmarks/device/edge_shop.py; queries are real ones, encoded by the bundle. Each index finds
candidates, which are rescored exactly; recall is against exact search over float32. Prints a line after each index.
"""

import argparse
import functools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from usearch.index import Index

from benchmarks.device.edge_shop import made_vectors, parents_of, real_queries
from compress.catalogue.index_dimensions import principal_axes, sufficient_width, vocabulary
from compress.catalogue.vector_index import convert_catalogue
from edge_runtime.contract.bundle import ITEM_VECTORS_FILE, TOKENIZER_FILE, open_bundle
from edge_runtime.contract.errors import PocketrecError
from edge_runtime.contract.types import Float32, Progress
from edge_runtime.inference.interpreter import Model
from edge_runtime.recommender import Recommender

CANDIDATES = 100
QUERIES = 200
TOP = 10
SAMPLE_PER_LIST = 64
ROUNDS = 8
_BLOCK = 16_384

Propose = Callable[[Float32], npt.NDArray[np.int64]]


@dataclass(frozen=True)
class IndexRow:
    """One index: milliseconds to its candidates, recall@10 after rescoring, bytes on disk, seconds to build."""

    name: str
    products: int
    p50_ms: float
    p99_ms: float
    recall10: float
    bytes: int
    build_s: float


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
        progress: called after each round of k-means and after the assignment.
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


def _vector_index(vectors: Float32, folder: Path, axes: Float32 | None) -> tuple[Propose, int]:
    path = folder / "catalogue.tflite"
    path.write_bytes(convert_catalogue(vectors, candidates=CANDIDATES, axes=axes))
    model = Model(path)
    return (lambda query: model.run("top", {"query": query[None]})["rows"][0]), path.stat().st_size


def _usearch(vectors: Float32, folder: Path, expansion: int) -> tuple[Propose, int]:
    index, opened = (
        Index(
            ndim=vectors.shape[1],
            metric="ip",
            dtype="i8",
            connectivity=16,
            expansion_add=64,
            expansion_search=expansion,
        )
        for _ in range(2)
    )
    index.add(np.arange(len(vectors)), vectors, threads=2, log=False)
    path = folder / "index.usearch"
    index.save(str(path))
    opened.view(str(path))
    return (lambda query: opened.search(query, CANDIDATES, threads=1).keys.astype(np.int64)), path.stat().st_size


def _lists(vectors: Float32, count: int, probes: int) -> tuple[Propose, int]:
    lists = make_lists(vectors, count)

    def propose(query: Float32) -> npt.NDArray[np.int64]:
        nearest = np.argsort(-(lists.centers @ query))[:probes]
        spans = [(lists.starts[one], lists.starts[one + 1]) for one in nearest]
        scores = np.concatenate([lists.vectors[start:end].astype(np.float32) @ query for start, end in spans])
        rows = np.concatenate([lists.rows[start:end] for start, end in spans])
        return rows[np.argpartition(-scores, min(CANDIDATES, len(rows) - 1))[:CANDIDATES]].astype(np.int64)

    return propose, lists.vectors.nbytes + lists.rows.nbytes + lists.centers.nbytes


def measure(base: Path, products: int, *, seed: int = 0) -> Iterator[IndexRow]:
    """Yield one row for each index over `products` vectors made of those of the bundle `base`."""
    real = np.load(open_bundle(base).path(ITEM_VECTORS_FILE)).astype(np.float32)
    vectors = made_vectors(real, parents_of(len(real), products, seed=seed), seed=seed)
    queries, axes, width = _asked(base, vectors)
    wanted = [set(np.argpartition(-(vectors @ query), TOP)[:TOP].tolist()) for query in queries]
    lists = max(1, round(2 * products**0.5))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        makers: dict[str, Callable[[], tuple[Propose, int]]] = {
            f"packed index, int8, all {vectors.shape[1]} axes": lambda: _vector_index(vectors, folder, None),
            f"packed index, int8, {width} axes (as built)": lambda: _vector_index(vectors, folder, axes),
            **{
                f"inverted lists, {probes} of {lists}": functools.partial(_lists, vectors, lists, probes)
                for probes in (32, 128, 512)
            },
            **{
                f"USearch HNSW i8, expansion {expansion}": functools.partial(_usearch, vectors, folder, expansion)
                for expansion in (128, 1024)
            },
        }
        for label, make in makers.items():
            print(f"{label} …", file=sys.stderr)
            yield _measured(label, make, vectors, queries, wanted)


def _asked(base: Path, vectors: Float32) -> tuple[Float32, Float32, int]:
    """Return the queries float32 [n, dim], the index's axes float32 [dim, width] as a build would choose them, and `width`.

    Further queries than those that are asked choose how many axes there are.
    """
    texts = real_queries(Path(os.environ.get("POCKETREC_DATA", "")), 2 * QUERIES)
    with Recommender.open(base) as shop:
        encoded = shop.encode_batch(texts)
        words = shop.encode_batch(vocabulary(base / TOKENIZER_FILE))
    axes = principal_axes(words)
    width = sufficient_width(vectors, axes, encoded[QUERIES:], CANDIDATES)
    return encoded[:QUERIES], np.ascontiguousarray(axes[:, :width]), width


def _measured(
    label: str, make: Callable[[], tuple[Propose, int]], vectors: Float32, queries: Float32, wanted: list[set[int]]
) -> IndexRow:
    started = time.perf_counter()
    propose, size = make()
    build_s = time.perf_counter() - started
    taken, found = [], 0
    for query in queries[:20]:
        propose(query)
    for query, best in zip(queries, wanted, strict=True):
        started = time.perf_counter()
        rows = propose(query)
        taken.append((time.perf_counter() - started) * 1e3)
        exact = vectors[rows] @ query
        found += len(best & set(rows[np.argsort(-exact)[:TOP]].tolist()))
    p50, p99 = np.percentile(taken, [50, 99])
    return IndexRow(label, len(vectors), float(p50), float(p99), found / (TOP * len(queries)), size, build_s)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, help="a bundle whose vectors are recombined")
    parser.add_argument("--products", type=int, nargs="+", default=[200_000, 1_000_000])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    try:
        _print_all(args)
    except PocketrecError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _print_all(args: argparse.Namespace) -> None:
    for products in args.products:
        for row in measure(args.bundle, products):
            if args.json:
                print(json.dumps(asdict(row)), flush=True)
            else:
                print(f"{row.products:9,d}  {row.name:34s} {row.p50_ms:8.3f} {row.p99_ms:8.3f} ms  recall@10 {row.recall10:.4f}  "
                      f"{row.bytes / 1e6:7.1f} MB  {row.build_s:6.1f} s")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
