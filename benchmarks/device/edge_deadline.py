"""nDCG@10 of each deadline level, and the share of answers that come after their deadline."""

import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.device.edge_shop import product_ids_of
from benchmarks.search.esci_protocol import EsciData, load_esci, queries_of
from edge_runtime.recommender import Recommender
from edge_runtime.search.deadline import LEVELS
from edge_runtime.search.vector_index import Catalogue
from train.evaluation.metrics import retrieval_ndcg

DEADLINES_MS = (0.1, 0.2, 0.5, 1.0, 2.0)
CALLS = 600
TOP = 10


def measure_deadline_levels(bundle: Path, data: Path, *, fold: int | None = None) -> Iterator[tuple[str, float, str]]:
    """Yield (name, value, unit): nDCG@10 of each level; for each deadline, its share of answers and of late ones.

    Args:
        bundle: the folder.
        data: where ESCI lies.
        fold: whose queries the bundle has not seen, so that only they are asked; by default what its folder's name
            says (`fold-N`). Without one all judged queries are asked, which may have trained the bundle: then
            the levels can be compared with each other, but not with other systems.
    """
    esci = load_esci(data)
    fold = _fold_of(bundle) if fold is None else fold
    queries = list(esci.judged) if fold is None else queries_of(esci, fold)
    asked = "all queries" if fold is None else f"{len(queries)} queries not trained on"
    with Recommender.open(bundle) as shop:
        catalogue, ids = Catalogue(shop.bundle), product_ids_of(shop.bundle)
        for level in LEVELS:
            values = [_ndcg(esci, query, _answer_of(shop, catalogue, ids, query, level)) for query in queries]
            yield f"deadline level {level}: nDCG@10, {asked}", float(np.mean(values)), ""
        for deadline_ms in DEADLINES_MS:
            late, answers = Counter[str](), Counter[str]()
            for call in range(CALLS):
                started = time.perf_counter()
                answer = shop.search(queries[call % len(queries)], k=TOP, deadline_ms=deadline_ms)
                late[answer.level] += (time.perf_counter() - started) * 1e3 > deadline_ms
                answers[answer.level] += 1
            yield f"deadline levels: late at {deadline_ms} ms", late.total() / CALLS, "of answers"
            for level in LEVELS:
                yield f"deadline level {level}: at {deadline_ms} ms", answers[level] / CALLS, "of answers"
                if answers[level]:
                    yield (
                        f"deadline level {level}: late at {deadline_ms} ms",
                        late[level] / answers[level],
                        "of its answers",
                    )


def _fold_of(bundle: Path) -> int | None:
    found = re.fullmatch(r"fold-([0-9]+)", bundle.resolve().parent.name)
    return int(found[1]) if found else None


def _answer_of(shop: Recommender, catalogue: Catalogue, ids: list[str], query: str, level: str) -> tuple[str, ...]:
    if level == "static":
        return shop.browse(k=TOP).product_ids
    if level == "encoder":
        return tuple(ids[row] for row in catalogue.propose(shop.encode_query(query)).rows[:TOP])
    return shop.search(query, k=TOP, mode="dense" if level == "rescored" else "hybrid").product_ids


def _ndcg(esci: EsciData, query: str, product_ids: tuple[str, ...]) -> float:
    gains = {esci.products[row].product_id: gain for row, gain in esci.judged[query].items()}
    return retrieval_ndcg(gains, product_ids, TOP)
