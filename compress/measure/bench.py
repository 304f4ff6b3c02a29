"""Measures latency, memory and size of a bundle on this machine, for `pocketrec bench`."""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from compress.errors import CompressionError
from compress.measure.cold_start import ColdStart, measure_cold_start
from compress.measure.latency import call_times_ms
from edge_runtime.contract.bundle import (
    CATALOGUE_ROWS_FILE,
    GOLDEN_FILE,
    MANIFEST_FILE,
    MODEL_FILES,
    TOKENIZER_FILE,
    open_bundle,
)
from edge_runtime.contract.golden import Golden, read_golden
from edge_runtime.contract.text import normalize_text
from edge_runtime.contract.types import NamedProgress
from edge_runtime.products.rows_database import RowsDatabase
from edge_runtime.recommender import Recommender
from edge_runtime.search.lexical import LexicalIndex
from edge_runtime.search.vector_index import Catalogue
from train.evaluation.metrics import recall_at_k

TOP_K = 10


@dataclass(frozen=True)
class Timing:
    """Latency of one operation in milliseconds over `runs` calls after warm-up."""

    name: str
    p50_ms: float
    p99_ms: float
    runs: int


@dataclass(frozen=True)
class BenchResult:
    """What a bundle costs here.

    Attributes:
        bundle_id: which bundle.
        products: how many it ranks.
        queries: how many different queries were run in turn.
        num_threads: threads of one model call.
        timings: one for each operation; `search` and `recommend` are whole answers of 10 products.
        cold_start: a fresh process up to its first answer.
        file_bytes: file -> bytes, the manifest included.
        recall10: share of the ten products nearest to each query that its candidates hold, after exact rescoring.
        model_bytes: encoder and tokenizer.
        total_bytes: all files.
    """

    bundle_id: str
    products: int
    queries: int
    num_threads: int
    timings: tuple[Timing, ...]
    cold_start: ColdStart
    file_bytes: dict[str, int]
    recall10: float
    model_bytes: int
    total_bytes: int


def bench_bundle(
    folder: Path,
    *,
    num_threads: int = 1,
    runs: int = 500,
    warm_up_runs: int = 20,
    progress: NamedProgress | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> BenchResult:
    """Measure the bundle in `folder` with its own golden queries and histories.

    Args:
        folder: the bundle.
        num_threads: threads of one model call.
        runs: measured calls of each operation.
        warm_up_runs: calls before, which do not count.
        progress: called after each operation.
        clock: seconds that only grow.

    Raises:
        BundleError: the bundle is damaged or malformed.
        InferenceError: the encoder cannot be run here.
        CompressionError: `runs` below 1, or the fresh process failed.
    """
    if runs < 1:
        raise CompressionError(f"expected at least 1 run, got {runs}")
    bundle = open_bundle(folder)
    golden = read_golden(bundle.path(GOLDEN_FILE))
    timings: list[Timing] = []
    with (
        Recommender(bundle, num_threads=num_threads) as recommender,
        contextlib.closing(RowsDatabase(bundle.path(CATALOGUE_ROWS_FILE))) as database,
    ):
        queries, histories = _inputs(golden, database)
        recall10 = _recall10(recommender, queries, num_threads)
        operations = _operations(recommender, database, queries, histories, num_threads)
        for name, operation in operations.items():
            taken_ms = call_times_ms(operation, runs=runs, warm_up_runs=warm_up_runs, clock=clock)
            p50, p99 = np.percentile(taken_ms, (50, 99))
            timings.append(Timing(name=name, p50_ms=float(p50), p99_ms=float(p99), runs=runs))
            if progress:
                progress(name, len(timings), len(operations) + 1)
    cold_start = measure_cold_start(folder, queries[0], num_threads=num_threads)
    if progress:
        progress("fresh process", len(timings) + 1, len(timings) + 1)
    sizes = {artifact.path: artifact.length_bytes for artifact in bundle.manifest.artifacts}
    sizes[MANIFEST_FILE] = (folder / MANIFEST_FILE).stat().st_size
    return BenchResult(
        bundle_id=bundle.bundle_id,
        products=bundle.manifest.catalogue.products,
        queries=len(queries),
        num_threads=num_threads,
        timings=tuple(timings),
        cold_start=cold_start,
        file_bytes=sizes,
        recall10=recall10,
        model_bytes=sum(sizes[name] for name in MODEL_FILES),
        total_bytes=sum(sizes.values()),
    )


def _inputs(golden: Golden, database: RowsDatabase) -> tuple[list[str], list[list[str]]]:
    """Return queries and histories; titles and single products where the bundle has no golden ones."""
    rows = database.fetch("SELECT title, product_id FROM products ORDER BY row LIMIT 50")
    queries = [one.text for one in golden.queries] or [title for title, _ in rows]
    histories = [one.history for one in golden.histories] or [[product_id] for _, product_id in rows]
    return queries, histories


def _operations(
    recommender: Recommender,
    database: RowsDatabase,
    queries: Sequence[str],
    histories: Sequence[Sequence[str]],
    num_threads: int,
) -> dict[str, Callable[[int], object]]:
    bundle = recommender.bundle
    tokenizer = Tokenizer.from_file(str(bundle.path(TOKENIZER_FILE)))
    catalogue = Catalogue(bundle, num_threads=num_threads)
    lexical = LexicalIndex(
        database,
        products=bundle.manifest.catalogue.products,
        fusion=bundle.manifest.fusion,
    )
    vectors = [recommender.encode_query(query) for query in queries]

    # A filter that leaves one in a thousand, so that candidates do not suffice.
    ids = [one for (one,) in database.fetch("SELECT product_id FROM products")]
    some = ids[:: max(1, len(ids) // max(TOP_K, len(ids) // 1000))]

    def query(run: int) -> str:
        return queries[run % len(queries)]

    return {
        "tokenize": lambda run: tokenizer.encode(normalize_text(query(run)), add_special_tokens=False),
        "encode query": lambda run: recommender.encode_query(query(run)),
        "nearest products": lambda run: catalogue.top(vectors[run % len(vectors)], TOP_K),
        "full-text search": lambda run: lexical.hits(lexical.understand(normalize_text(query(run)))),
        "search dense": lambda run: recommender.search(query(run), k=TOP_K, mode="dense"),
        "search hybrid": lambda run: recommender.search(query(run), k=TOP_K, mode="hybrid"),
        "search filtered": lambda run: recommender.search(query(run), k=TOP_K, where={"product_id": some}),
        "facets": lambda run: recommender.facets(query(run), by=["brand", "category"]),
        "suggest": lambda run: recommender.suggest(query(run)[: 2 + run % 6]),
        "recommend": lambda run: recommender.recommend(histories[run % len(histories)], k=TOP_K),
    }


def _recall10(recommender: Recommender, queries: Sequence[str], num_threads: int) -> float:
    catalogue = Catalogue(recommender.bundle, num_threads=num_threads)
    everything = np.ones(len(catalogue), dtype=np.bool_)
    recalls = []
    for query in queries:
        vector = recommender.encode_query(query)
        exact, found = catalogue.scan(vector, TOP_K, everything), catalogue.top(vector, TOP_K)
        recalls.append(recall_at_k(found.rows.tolist(), exact.rows.tolist(), TOP_K))
    return float(np.mean(recalls))
