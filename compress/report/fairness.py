"""The share of each group of products in the first ten results, and what a bound on it costs."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edge_runtime.recommender import Recommender
from edge_runtime.search.fair_ranking import ExposureBound, place_attention, search_fairly
from train.data.tables import Judged, Shop
from train.evaluation.intervals import estimate_difference
from train.evaluation.metrics import retrieval_ndcg

TOP_K = 10
# From loose to strict: 1 asks for exactly the exposure that the merit earns.
BOUNDS = (2.0, 1.5, 1.25, 1.0)
MIN_MERIT = 0.01
"""The ratio of a group with a smaller share of merit is unstable: one more place multiplies it."""

Rankings = Mapping[str, Sequence[str]]


def rank_all(recommender: Recommender, judged: Judged, *, max_ratio: float | None = None) -> dict[str, tuple[str, ...]]:
    """Return the first ten products of each query, under a bound of exposure / merit where one is given."""
    if max_ratio is None:
        return {query: recommender.search(query, k=TOP_K).product_ids for query in judged}
    bound = ExposureBound(max_ratio)
    return {query: search_fairly(recommender, query, bound=bound, k=TOP_K).product_ids for query in judged}


def exposure_by_group(rankings: Rankings, shop: Shop, judged: Judged) -> list[dict[str, Any]]:
    """Return each group's share of the exposure in the first ten places, and of the merit.

    A place counts 1 / log2(place + 1), merit is the sum of the gains, each query counting the same (Singh and Joachims,
    "Fairness of Exposure in Rankings", 2018). Empty when the shop names fewer than two groups.
    """
    if len({product.group for product in shop.products if product.group}) < 2 or not judged:
        return []
    group_of = {product.product_id: product.group or "" for product in shop.products}
    exposure: dict[str, float] = defaultdict(float)
    merit: dict[str, float] = defaultdict(float)
    attention = place_attention(TOP_K)
    for query, judgements in judged.items():
        for place, product_id in enumerate(rankings[query]):
            exposure[group_of[product_id]] += float(attention[place])
        total = sum(judgement.gain for judgement in judgements)
        for judgement in judgements if total else ():
            merit[shop.products[judgement.row].group or ""] += judgement.gain / total
    shown, earned = max(sum(exposure.values()), 1e-9), max(sum(merit.values()), 1e-9)
    rows: list[dict[str, Any]] = [
        {"group": name, "exposure_share": exposure[name] / shown, "merit_share": merit[name] / earned}
        for name in sorted({*exposure, *merit})
    ]
    return sorted(rows, key=lambda row: -row["merit_share"])


def cost_of_bounds(recommender: Recommender, shop: Shop, judged: Judged, free: Rankings) -> list[dict[str, Any]]:
    """Return the effect of a bound on exposure / merit in each answer, by bound; the first row is without a bound.

    `largest_ratio` is that of the group with the largest exposure share / merit share, among the named groups of at
    least `MIN_MERIT` of the merit: products without a group are never moved down. `cost` is what nDCG@10 loses, on the
    same queries. Empty with fewer than two groups.
    """
    if not exposure_by_group(free, shop, judged):
        return []
    before = _ndcg(free, shop, judged)
    found = []
    for bound in (None, *BOUNDS):
        rankings = free if bound is None else rank_all(recommender, judged, max_ratio=bound)
        values = _ndcg(rankings, shop, judged)
        cost = estimate_difference(before, values)
        ratios = [
            row["exposure_share"] / row["merit_share"]
            for row in exposure_by_group(rankings, shop, judged)
            if row["group"] and row["merit_share"] >= MIN_MERIT
        ]
        found.append(
            {
                "max_ratio": bound,
                "largest_ratio": max(ratios, default=None),
                "retrieval_ndcg10": float(np.mean(values)),
                "cost": cost.mean,
                "cost_ci95": cost.ci95,
            }
        )
    return found


def _ndcg(rankings: Rankings, shop: Shop, judged: Judged) -> list[float]:
    values = []
    for query, judgements in judged.items():
        gains = {shop.products[judgement.row].product_id: judgement.gain for judgement in judgements}
        if any(gains.values()):
            values.append(retrieval_ndcg(gains, rankings[query], TOP_K))
    return values
