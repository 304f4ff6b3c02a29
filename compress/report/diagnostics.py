"""Diagnostics of the packed bundle on the held-out queries: typing errors, worst answers, exposure by group, latency."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from compress.measure.latency import call_times_ms
from compress.report.fairness import cost_of_bounds, exposure_by_group, rank_all
from edge_runtime.recommender import Mode, Recommender
from train.data.tables import Judged, Shop
from train.evaluation.intervals import percentile_interval, resampled_shares, share_of
from train.evaluation.metrics import rerank_ndcg, retrieval_ndcg
from train.text.typing_errors import with_typing_error

TYPO_DRAWS = 3
"""Typing errors of each query, each tried alone: one draw of some twenty queries is mostly luck."""

# As many as fit on a screen of the report.
WORST_QUERIES = 8
SHOWN_PRODUCTS = 5
TOP_K = 10
_HISTOGRAM_BINS = 24


def bundle_diagnostics(recommender: Recommender, shop: Shop, judged: Judged, *, seed: int) -> dict[str, Any]:
    """Return what the report tells of the finished bundle as plain JSON.

    Args:
        recommender: the bundle; its catalogue is that of `shop`.
        shop: for titles, groups and queries.
        judged: the held-out queries; without any, only the latency is known.
        seed: of the typing errors.
    """
    free = rank_all(recommender, judged)
    return {
        "typo_suite": typo_suite(recommender, shop, judged, seed=seed),
        "exposure": exposure_by_group(free, shop, judged),
        "exposure_bounds": cost_of_bounds(recommender, shop, judged, free),
        "worst_queries": worst_queries(recommender, shop, judged),
        "latency": latency(recommender, [*judged, *shop.queries] or [product.title for product in shop.products]),
    }


def typo_suite(recommender: Recommender, shop: Shop, judged: Judged, *, seed: int) -> list[dict[str, Any]]:
    """Return for each mode the re-rank NDCG@10 of the queries as typed and with one typing error, and the share kept.

    The interval is a 95% bootstrap over queries, which draws both figures of a query together.
    """
    modes: tuple[Mode, ...] = ("dense", "hybrid") if judged else ()
    ids = {
        query: {shop.products[judgement.row].product_id: judgement.gain for judgement in judgements}
        for query, judgements in judged.items()
    }
    found = []
    for mode in modes:
        clean, damaged = typo_ndcg(recommender, ids, mode=mode, seed=seed).T
        found.append(
            {
                "mode": mode,
                "queries": len(clean),
                "rerank_ndcg10": float(np.mean(clean)),
                "typo_rerank_ndcg10": float(np.mean(damaged)),
                "kept": share_of(damaged, clean),
                "kept_ci95": percentile_interval(resampled_shares(damaged, clean)),
            }
        )
    return found


def typo_ndcg(
    recommender: Recommender, judged: Mapping[str, Mapping[str, float]], *, mode: Mode, seed: int
) -> npt.NDArray[np.float64]:
    """Return float64 [queries, 2]: re-rank NDCG@10 as typed, and the mean of `TYPO_DRAWS` times one typing error.

    Args:
        recommender: what ranks.
        judged: query -> {product id: gain}.
        mode: of scoring.
        seed: of the typing errors.
    """
    random = np.random.default_rng(seed)
    rows = []
    for query, by_id in judged.items():
        gains, ids = np.array(list(by_id.values())), list(by_id)

        def ndcg(text: str, gains: Any = gains, ids: list[str] = ids) -> float:
            return rerank_ndcg(gains, recommender.score(text, ids, mode=mode), TOP_K)

        rows.append((ndcg(query), np.mean([ndcg(_one_typo(query, random)) for _ in range(TYPO_DRAWS)])))
    return np.array(rows, dtype=np.float64).reshape(-1, 2)


def _one_typo(query: str, random: np.random.Generator) -> str:
    """Return `query` with an error in one of its words; numbers alone stay as they are."""
    words = query.split()
    place = int(random.integers(len(words)))
    words[place] = with_typing_error(words[place], random)
    return " ".join(words)


def worst_queries(recommender: Recommender, shop: Shop, judged: Judged) -> list[dict[str, Any]]:
    """Return the held-out queries with the lowest retrieval NDCG@10: their ranked products and their relevant ones."""
    row_of = {product.product_id: row for row, product in enumerate(shop.products)}
    found: list[dict[str, Any]] = []
    for query, judgements in judged.items():
        gains = {judgement.row: judgement.gain for judgement in judgements}
        if not any(gains.values()):
            continue
        rows = [row_of[one] for one in recommender.search(query, k=TOP_K).product_ids]
        wanted = sorted(gains, key=lambda row: (-gains[row], row))[:SHOWN_PRODUCTS]
        found.append(
            {
                "query": query,
                "retrieval_ndcg10": retrieval_ndcg(gains, rows, TOP_K),
                "ranked": [
                    {"title": shop.products[row].title, "gain": gains.get(row)} for row in rows[:SHOWN_PRODUCTS]
                ],
                "expected": [{"title": shop.products[row].title, "gain": gains[row]} for row in wanted],
            }
        )
    return sorted(found, key=lambda one: one["retrieval_ndcg10"])[:WORST_QUERIES]


def latency(recommender: Recommender, queries: Sequence[str]) -> list[dict[str, Any]]:
    """Return p50, p99 and the histogram of encoding and of hybrid search, in milliseconds, one thread, build machine."""
    operations: dict[str, Callable[[int], object]] = {
        "encode query": lambda run: recommender.encode_query(queries[run % len(queries)]),
        "search": lambda run: recommender.search(queries[run % len(queries)], k=TOP_K),
    }
    found = []
    for name, operation in operations.items():
        measured = call_times_ms(operation)
        low, high = float(measured.min()), float(np.percentile(measured, 99))
        counts, edges = np.histogram(
            np.clip(measured, low, high), bins=_HISTOGRAM_BINS, range=(low, max(high, low + 1e-6))
        )
        found.append(
            {
                "operation": name,
                "p50_ms": float(np.percentile(measured, 50)),
                "p99_ms": high,
                "histogram": {"edges_ms": edges.round(6).tolist(), "counts": counts.tolist()},
            }
        )
    return found
