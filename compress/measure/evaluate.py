"""Measures the ranking quality of a bundle on a shop's judgements and purchases, for `pocketrec evaluate`."""

import contextlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_runtime.contract.bundle import CATALOGUE_ROWS_FILE, Bundle, open_bundle
from edge_runtime.contract.types import NamedProgress
from edge_runtime.products.product_rows import ProductRows
from edge_runtime.products.rows_database import RowsDatabase
from edge_runtime.recommender import Mode, Recommender
from train.data.tables import Basket, Shop
from train.errors import EmptyDatasetError
from train.evaluation.intervals import estimate_mean
from train.evaluation.metrics import basket_figures, recall_at_k, rerank_ndcg, retrieval_ndcg
from train.evaluation.quality_rows import BasketQuality, Interval, SearchQuality

RELEVANT_GAIN = 0.4
"""Recall counts products from this gain on: grade 2 and 3 of 3 (gains 0.43 and 1)."""

RETRIEVED = 100
TOP_K = 10

_MODES: tuple[Mode, ...] = ("dense", "lexical", "hybrid")

_CAUTION = (
    "this bundle was built from this very shop, so most of these judgements and purchases were its training data and "
    "the figures flatter it; the bundle's report.json holds those of the queries that the build held out"
)


@dataclass(frozen=True, kw_only=True)
class RankingQuality(SearchQuality):
    """Search quality of one mode, over the queries with at least one product of a gain above 0.

    Attributes:
        mode: "dense", "lexical" or "hybrid".
        recall100: share of the relevant products among the first 100; None when no query has a relevant product.
        recall100_ci95: its interval.
    """

    mode: str
    recall100: float | None
    recall100_ci95: Interval | None


@dataclass(frozen=True, kw_only=True)
class RecommendationQuality(BasketQuality):
    """Quality of predicting baskets from the baskets before; `users` says how many."""

    users: int


@dataclass(frozen=True)
class Evaluation:
    """Quality of one bundle on one shop.

    Attributes:
        bundle_id: which bundle.
        shop_digest: which shop.
        caution: why the figures are no unbiased estimate, or None.
        unknown_products: products of the shop that the bundle does not have; their judgements and purchases were left out.
        ranking: one for each mode; empty when the shop has no judgement that counts.
        whole_basket: on each user's last basket; None when no user has two.
        new_products: on that basket's products that the user never bought before, with the earlier ones excluded.
    """

    bundle_id: str
    shop_digest: str
    caution: str | None
    unknown_products: int
    ranking: tuple[RankingQuality, ...]
    whole_basket: RecommendationQuality | None
    new_products: RecommendationQuality | None


def evaluate_bundle(folder: Path, shop: Shop, *, progress: NamedProgress | None = None) -> Evaluation:
    """Measure the bundle in `folder` on what `shop` says.

    Args:
        folder: the bundle.
        shop: judgements and purchases; best those that came after the bundle was built.
        progress: called with queries and users done.

    Raises:
        BundleError: the bundle is damaged or malformed.
        InferenceError: the encoder cannot be run here.
        EmptyDatasetError: nothing in the shop can be measured on this bundle.
    """
    bundle = open_bundle(folder)
    show = progress or _say_nothing
    known = _known_ids(bundle, shop)
    with Recommender(bundle) as recommender:
        ranking = _evaluate_search(recommender, _judged(shop, known), show)
        whole, new = _evaluate_baskets(recommender, shop.baskets, known, show)
    if not ranking and whole is None:
        raise EmptyDatasetError(
            f"nothing to evaluate on: shop {shop.name!r} has no judgement above gain 0 and no user with two baskets "
            "of products that the bundle knows; add one of them"
        )
    return Evaluation(
        bundle_id=bundle.bundle_id,
        shop_digest=shop.digest,
        caution=_CAUTION if bundle.manifest.shop_digest == shop.digest else None,
        unknown_products=sum(product_id is None for product_id in known),
        ranking=ranking,
        whole_basket=whole,
        new_products=new,
    )


def _say_nothing(_what: str, _done: int, _total: int) -> None:
    return None


def _known_ids(bundle: Bundle, shop: Shop) -> list[str | None]:
    """Return the id of each row of the shop, None where the bundle has no such product."""
    ids = [product.product_id for product in shop.products]
    with contextlib.closing(RowsDatabase(bundle.path(CATALOGUE_ROWS_FILE))) as database:
        known = ProductRows(database, products=bundle.manifest.catalogue.products).rows_of(ids)
    return [product_id if product_id in known else None for product_id in ids]


def _judged(shop: Shop, known: Sequence[str | None]) -> dict[str, dict[str, float]]:
    """Return query -> {product id: gain} for the queries that say something about ranking."""
    judged: dict[str, dict[str, float]] = defaultdict(dict)
    for judgement in shop.judgements:
        product_id = known[judgement.row]
        if product_id is not None:
            judged[judgement.query][product_id] = judgement.gain
    return {query: gains for query, gains in judged.items() if any(gains.values())}


def _evaluate_search(
    recommender: Recommender, judged: Mapping[str, Mapping[str, float]], show: NamedProgress
) -> tuple[RankingQuality, ...]:
    if not judged:
        return ()
    figures: dict[Mode, list[tuple[float, float, float | None]]] = {mode: [] for mode in _MODES}
    for done, (query, gains) in enumerate(judged.items(), start=1):
        for mode, of_mode in figures.items():
            of_mode.append(_search_figures(recommender, query, gains, mode))
        show("queries", done, len(judged))
    return tuple(_ranking_quality(mode, of_mode) for mode, of_mode in figures.items())


def _search_figures(
    recommender: Recommender, query: str, gains: Mapping[str, float], mode: Mode
) -> tuple[float, float, float | None]:
    scores = recommender.score(query, list(gains), mode=mode)
    found = recommender.search(query, k=RETRIEVED, mode=mode).product_ids
    relevant = [product_id for product_id, gain in gains.items() if gain >= RELEVANT_GAIN]
    return (
        rerank_ndcg(np.array(list(gains.values())), scores, TOP_K),
        retrieval_ndcg(gains, found, TOP_K),
        recall_at_k(found, relevant, RETRIEVED) if relevant else None,
    )


def _ranking_quality(mode: Mode, figures: Sequence[tuple[float, float, float | None]]) -> RankingQuality:
    rerank, retrieval, recall = zip(*figures, strict=True)
    known = [one for one in recall if one is not None]
    mean, ci95 = estimate_mean(known) if known else (None, None)
    return RankingQuality.of(rerank, retrieval, mode=mode, recall100=mean, recall100_ci95=ci95)


def _evaluate_baskets(
    recommender: Recommender,
    baskets: Mapping[str, Sequence[Basket]],
    known: Sequence[str | None],
    show: NamedProgress,
) -> tuple[RecommendationQuality | None, RecommendationQuality | None]:
    """Return the quality on each user's last basket, whole and new products only."""
    whole: list[tuple[float, float]] = []
    new: list[tuple[float, float]] = []
    for done, of_user in enumerate(baskets.values(), start=1):
        parts = [[known[row] for row in basket.rows] for basket in of_user]
        *before, last = [[product_id for product_id in part if product_id is not None] for part in parts] or [[]]
        history = [product_id for part in before for product_id in part]
        if history and last:
            whole.append(basket_figures(recommender.recommend(history, k=TOP_K).product_ids, last, TOP_K))
            fresh = [product_id for product_id in last if product_id not in set(history)]
            if fresh:
                answer = recommender.recommend(history, k=TOP_K, exclude=set(history))
                new.append(basket_figures(answer.product_ids, fresh, TOP_K))
        show("users", done, len(baskets))
    return _basket_quality(whole), _basket_quality(new)


def _basket_quality(figures: Sequence[tuple[float, float]]) -> RecommendationQuality | None:
    return RecommendationQuality.of(figures, users=len(figures)) if figures else None
