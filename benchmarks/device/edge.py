"""The benchmark of the device: `python -m benchmarks.device.edge`; `POCKETREC_DATA` names the folder of the data.

A bundle (by default one that is built quickly from ESCI's products, since speed does not depend on quality) is packed
again with fewer products, or with more that are made of its own. It answers real queries, each once. The peer, MiniLM
int8 in ONNX Runtime followed by FAISS SQ8, answers the same queries in turns, so that a busy moment of the machine
affects both. One thread each.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import faiss
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.device.edge_deadline import measure_deadline_levels
from benchmarks.device.edge_shop import made_bundle, product_ids_of, real_queries
from benchmarks.device.edge_targets import (
    AGAINST_PEER,
    DENSE,
    HYBRID,
    LARGE,
    MEMORY,
    OPEN,
    PROCESS,
    RECALL,
    SMALL,
    verdict,
)
from benchmarks.peers.minilm import MinilmEncoder, prepare_minilm
from compress.measure.cold_start import ColdStart, measure_cold_start
from edge_runtime.contract.atomic_files import write_bytes_atomically
from edge_runtime.contract.bundle import ITEM_VECTORS_FILE, Bundle, open_bundle
from edge_runtime.contract.errors import PocketrecError
from edge_runtime.recommender import Recommender
from train.evaluation.metrics import recall_at_k

RESULT = Path("benchmarks/results/edge.json")
WORK = Path("work/edge")
PEER = "MiniLM int8 (ONNX Runtime) + FAISS SQ8"
TOP = 10
ROW_OF_CALLS = 50
"""Each operation asks so many queries before the next one does: its own data are in the caches then, as on a device."""
COLD_STARTS = 7
NARROWING_QUERIES = 300
"""Further queries, by which the number of axes of a large catalogue's vector index is chosen."""

Operation = Callable[[str], object]


@dataclass(frozen=True)
class EdgeRow:
    """One figure. Times have `p50_ms` and `p99_ms` (of few runs: the worst), all others `value` and `unit`.

    Attributes:
        name: what was measured.
        products: in the catalogue.
        p50_ms: median.
        p99_ms: 99th percentile.
        ratio_to_peer: the peer's median over this one: so many times faster.
        value: of a figure that is no time.
        unit: of `value`.
    """

    name: str
    products: int
    p50_ms: float | None = None
    p99_ms: float | None = None
    ratio_to_peer: float | None = None
    value: float | None = None
    unit: str | None = None


def peer_search(work: Path, products: int) -> Operation:
    """Return the peer's search, string to 10 rows. Its vectors are random: FAISS compares all of them, whatever they are."""
    files = prepare_minilm(work)
    encoder = MinilmEncoder(files.int8, files.tokenizer)
    dim = len(encoder.encode("a"))
    vectors = np.random.default_rng(0).standard_normal((products, dim), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    return lambda query: index.search(encoder.encode(query)[None], TOP)


def measure_in_turns(
    operations: Mapping[str, Operation],
    queries: Sequence[str],
    *,
    in_a_row: int = ROW_OF_CALLS,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, np.ndarray]:
    """Return milliseconds of each call, by operation: all of them ask every query once, `in_a_row` calls at a time."""
    taken: dict[str, list[float]] = {name: [] for name in operations}
    warm, asked = queries[:in_a_row], queries[in_a_row:]
    for operation in operations.values():
        for query in warm:
            operation(query)
    for start in range(0, len(asked), in_a_row):
        for name, operation in operations.items():
            for query in asked[start : start + in_a_row]:
                started = clock()
                operation(query)
                taken[name].append((clock() - started) * 1e3)
    return {name: np.array(values) for name, values in taken.items()}


def measure_bundle(
    bundle: Bundle, queries: Sequence[str], peer: Operation, *, in_a_row: int = ROW_OF_CALLS
) -> list[EdgeRow]:
    """Return the rows of one catalogue: searches beside the peer, recall, threads."""
    products = bundle.manifest.catalogue.products
    rows = []
    with Recommender(bundle) as shop:
        ids = [f"made-{number}" for number in range(products - products // 1000, products)]
        operations: dict[str, Operation] = {
            PEER: peer,
            DENSE: lambda query: shop.search(query, k=TOP, mode="dense"),
            HYBRID: lambda query: shop.search(query, k=TOP),
            "search hybrid, a filter leaves 0.1%": lambda query: shop.search(query, k=TOP, where={"product_id": ids}),
            "encode query": shop.encode_query,
            "suggest": lambda query: shop.suggest(query[:6]),
            "facets": lambda query: shop.facets(query, by=["brand", "category"]),
        }
        taken = measure_in_turns(operations, queries, in_a_row=in_a_row)
        reference = float(np.percentile(taken[PEER], 50))
        for name, values in taken.items():
            p50, p99 = np.percentile(values, [50, 99])
            compared = name == PEER or name.startswith("search")
            rows.append(EdgeRow(name, products, p50, p99, reference / p50 if compared else None))
        rows.append(
            EdgeRow(AGAINST_PEER, products, value=reference / float(np.median(taken[DENSE])), unit="times as fast")
        )
        rows.append(EdgeRow(RECALL, products, value=_recall(shop, bundle, queries[:200]), unit=""))
        for threads in (1, 4):
            rate = _answers_per_second(shop, queries, threads)
            rows.append(EdgeRow(f"hybrid answers, {threads} thread(s)", products, value=rate, unit="per second"))
    return rows


def _recall(shop: Recommender, bundle: Bundle, queries: Sequence[str]) -> float:
    """Against exact float32 over the vectors that the bundle keeps."""
    vectors = np.load(bundle.path(ITEM_VECTORS_FILE), mmap_mode="r").astype(np.float32)
    ids = product_ids_of(bundle)
    recalls = []
    for query in queries:
        exact = np.argpartition(-(vectors @ shop.encode_query(query)), TOP)[:TOP]
        answer = shop.search(query, k=TOP, mode="dense").product_ids
        recalls.append(recall_at_k(answer, [ids[row] for row in exact.tolist()], TOP))
    return float(np.mean(recalls))


def _answers_per_second(shop: Recommender, queries: Sequence[str], threads: int) -> float:
    asked = [queries[number::threads] for number in range(threads)]
    workers = [threading.Thread(target=lambda part=part: [shop.search(query) for query in part]) for part in asked]
    started = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return len(queries) / (time.perf_counter() - started)


def measure_starts(bundle: Bundle, query: str, byte_code: Path) -> list[EdgeRow]:
    """Return what fresh processes need: time to open and answer, time from their start, and memory."""
    products = bundle.manifest.catalogue.products

    def start(*, verify: bool) -> list[ColdStart]:
        found = [
            measure_cold_start(bundle.folder, query, verify=verify, byte_code=byte_code) for _ in range(COLD_STARTS)
        ]
        return found[1:]  # the first one compiles modules

    checked, trusted = start(verify=True), start(verify=False)
    rows = [
        _times(OPEN, products, [one.open_ms + one.first_answer_ms for one in checked]),
        _times(f"{OPEN} earlier", products, [one.open_ms + one.first_answer_ms for one in trusted]),
        _times(PROCESS, products, [one.process_ms for one in checked]),
    ]
    added = float(np.median([one.memory_bytes - one.memory_idle_bytes for one in checked]))
    own = float(np.median([one.memory_private_bytes for one in checked]))
    peak = float(np.median([one.memory_peak_bytes - one.memory_idle_bytes for one in checked]))
    rows.append(EdgeRow(MEMORY, products, value=added / 1e6, unit="MB"))
    rows.append(EdgeRow("memory above, at its peak", products, value=peak / 1e6, unit="MB"))
    rows.append(EdgeRow("memory above, without mapped files", products, value=own / 1e6, unit="MB"))
    return rows


def _times(name: str, products: int, taken_ms: Sequence[float]) -> EdgeRow:
    return EdgeRow(name, products, float(np.median(taken_ms)), float(np.max(taken_ms)))


def build_base(data: Path, work: Path) -> Path:
    """Return a bundle of ESCI's products, built in a few minutes unless it is there.

    Raises:
        PocketrecError: the import or the build failed; it printed why to stderr.
    """
    shop, bundle = work / "shop", work / "bundle"
    steps = [
        ["shop", "import", "esci", "--from", str(data / "esci_us"), "--out", str(shop), "--overwrite"],
        ["build", str(shop), "--out", str(bundle), "--resume", "--config", "configs/edge.toml"],
    ]
    for step in steps:
        command = [sys.executable, "-m", "pocketrec", *step]
        if subprocess.run(command, check=False, stdout=sys.stderr).returncode != 0:
            raise PocketrecError(f"`pocketrec {' '.join(step)}` failed; see above for why")
    return bundle


def run(options: argparse.Namespace) -> list[EdgeRow]:
    """Measure every catalogue and return all rows.

    Raises:
        PocketrecError: missing data, or a build that failed.
    """
    data = Path(os.environ.get("POCKETREC_DATA", ""))
    queries = real_queries(data, options.queries + NARROWING_QUERIES)
    queries, others = queries[: options.queries], queries[options.queries :]
    options.work.mkdir(parents=True, exist_ok=True)
    base = options.bundle or build_base(data, options.work)
    messages = Console(stderr=True)
    rows: list[EdgeRow] = []
    real = open_bundle(base).manifest.catalogue.products
    for products in options.products or [min(real, SMALL), LARGE]:
        messages.print(f"{products:,} products: packing")
        bundle = made_bundle(base, products, options.work / f"products-{products}", texts=others)
        messages.print(f"{products:,} products: measuring")
        rows += measure_bundle(bundle, queries, peer_search(options.work, products), in_a_row=options.in_a_row)
        rows += measure_starts(bundle, queries[0], options.work / "byte-code")
    for name, value, unit in measure_deadline_levels(base, data, fold=options.fold):
        rows.append(EdgeRow(name, real, value=value, unit=unit))
    return rows


def show(rows: Sequence[EdgeRow], console: Console) -> None:
    """Print the rows as a table."""
    table = Table("figure", "products", "p50 ms", "p99 ms", "peer / ours", "value", "floor and aim")
    for row in rows:
        times = ["" if value is None else f"{value:.3f}" for value in (row.p50_ms, row.p99_ms)]
        ratio = "" if row.ratio_to_peer is None else f"{row.ratio_to_peer:.1f} ×"
        value = "" if row.value is None else f"{row.value:.4g} {row.unit}".strip()
        held = verdict(row.name, row.products, p50_ms=row.p50_ms, p99_ms=row.p99_ms, value=row.value)
        table.add_row(row.name, f"{row.products:,}", *times, ratio, value, held)
    console.print(table)


def main() -> int:
    """Run, print and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, help="a bundle of real products (default: one built for this)")
    parser.add_argument("--fold", type=int, help="the fold of ESCI whose queries the bundle has not seen (fold-N: N)")
    parser.add_argument(
        "--products", type=int, nargs="+", help="sizes of catalogues (default: ESCI's 6,764, and 50,000)"
    )
    parser.add_argument("--queries", type=int, default=1_000, help="how many real queries are asked (1,000)")
    parser.add_argument(
        "--in-a-row",
        type=int,
        default=ROW_OF_CALLS,
        help="queries that one operation asks before the next one does (50)",
    )
    parser.add_argument("--work", type=Path, default=WORK, help="folder of what is made on the way")
    parser.add_argument("--out", type=Path, default=RESULT, help="the result file")
    options = parser.parse_args()
    try:
        rows = run(options)
    except PocketrecError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomically(options.out, (json.dumps([asdict(row) for row in rows], indent=1) + "\n").encode())
    show(rows, Console(width=None if sys.stdout.isatty() else 180))
    return 0


if __name__ == "__main__":
    sys.exit(main())
