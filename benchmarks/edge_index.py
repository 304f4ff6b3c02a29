"""Candidates of large catalogues: the layer, inverted lists and USearch at one size: `python -m benchmarks.edge_index`.

Vectors are those of benchmarks/edge_shop.py, queries are vectors of other products with noise; each index proposes rows,
which are rescored exactly, and recall is against exact search over float32. Prints a line for each index as it is done.
"""

import argparse
import functools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from usearch.index import Index

from benchmarks.edge_lists import make_lists
from benchmarks.edge_shop import made_vectors, parents_of
from compress.catalogue_layer import convert_catalogue
from edge_runtime.contract.bundle import ITEM_VECTORS_FILE, open_bundle
from edge_runtime.interpreter import Model

CANDIDATES = 100
QUERIES = 200
TOP = 10

Float32 = npt.NDArray[np.float32]
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


def _layer(vectors: Float32, folder: Path) -> tuple[Propose, int]:
    path = folder / "layer.tflite"
    path.write_bytes(convert_catalogue(vectors, candidates=CANDIDATES))
    model = Model(path)
    return (lambda query: model.run("top", {"query": query[None]})["rows"][0]), path.stat().st_size


def _usearch(vectors: Float32, folder: Path) -> tuple[Propose, int]:
    index, opened = (
        Index(ndim=vectors.shape[1], metric="ip", dtype="i8", connectivity=16, expansion_add=64, expansion_search=128)
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
    rng = np.random.default_rng(seed + 1)
    queries = vectors[rng.choice(products, QUERIES, replace=False)]
    queries += 0.5 * rng.standard_normal(queries.shape, dtype=np.float32) / np.sqrt(np.float32(queries.shape[1]))
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    wanted = [set(np.argpartition(-(vectors @ query), TOP)[:TOP].tolist()) for query in queries]
    lists = max(1, round(2 * products**0.5))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        makers: dict[str, Callable[[], tuple[Propose, int]]] = {
            "layer (int8, all rows)": lambda: _layer(vectors, folder),
            **{
                f"inverted lists, {probes} of {lists}": functools.partial(_lists, vectors, lists, probes)
                for probes in (32, 64, 128)
            },
            "USearch HNSW i8": lambda: _usearch(vectors, folder),
        }
        for label, make in makers.items():
            print(f"{label} …", file=sys.stderr)
            yield _measured(label, make, vectors, queries, wanted)


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
    for products in args.products:
        for row in measure(args.bundle, products):
            if args.json:
                print(json.dumps(asdict(row)))
            else:
                print(f"{row.products:9,d}  {row.name:34s} {row.p50_ms:8.3f} {row.p99_ms:8.3f} ms  recall@10 {row.recall10:.4f}  "
                      f"{row.bytes / 1e6:7.1f} MB  {row.build_s:6.1f} s")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
