"""Attractions of shown products -> what the encoder is tuned to, with the words' part of the score as it stands."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edge_runtime.recommender import Recommender
from train.clicks.click_model import Attractions
from train.clicks.log import FeedbackLog
from train.clicks.ranknet_tuning import ClickTargets
from train.data.tables import Shop
from train.errors import EmptyDatasetError

_MAX_SHOWN = 40


def click_targets(
    told: Attractions,
    log: FeedbackLog,
    shop: Shop,
    recommender: Recommender,
    query_ids: Callable[[list[str]], Any],
) -> ClickTargets:
    """Return the targets of every query that has two products which the shop still sells.

    Args:
        told: what the teaching devices say.
        log: whose numbers `told` uses.
        shop: rows of products.
        recommender: the bundle that is being tuned; tells what words contribute to the hybrid score.
        query_ids: texts -> int32 [texts, query_tokens].

    Raises:
        EmptyDatasetError: there is no such query.
    """
    row_of = {product.product_id: row for row, product in enumerate(shop.products)}
    texts: list[str] = []
    rows: list[tuple[list[int], list[float], Sequence[float]]] = []
    for query in np.unique(told.query):
        mine = told.query == query
        shown = [
            (product_id, float(attraction))
            for product_id, attraction in sorted(
                zip((log.products[one] for one in told.product[mine]), told.attraction[mine], strict=True),
                key=lambda pair: -pair[1],
            )
            if product_id in row_of
        ][:_MAX_SHOWN]
        if len(shown) < 2:
            continue
        ids = [product_id for product_id, _ in shown]
        texts.append(log.queries[query])
        offsets = _word_offsets(recommender, log.queries[query], ids)
        rows.append(([row_of[one] for one in ids], [attraction for _, attraction in shown], offsets))
    if not texts:
        raise EmptyDatasetError("no query of the feedback has two products that the shop still sells")
    items = np.zeros((len(rows), _MAX_SHOWN), np.int32)
    targets, mask, words = (np.zeros((len(rows), _MAX_SHOWN), np.float32) for _ in range(3))
    for number, (products, attractions, offsets) in enumerate(rows):
        count = len(products)
        items[number, :count] = products
        targets[number, :count] = attractions
        mask[number, :count] = 1.0
        words[number, :count] = offsets
    return ClickTargets(query_ids(texts), items, targets, mask, words)


def _word_offsets(recommender: Recommender, query: str, ids: list[str]) -> Any:
    """Return what must be added to each cosine so that cosines order as hybrid scores do."""
    fusion = recommender.bundle.manifest.fusion
    if fusion.dense_weight <= 0.0:
        return np.zeros(len(ids), np.float32)
    cosines, _ = recommender.score_parts(query, ids)
    hybrid = recommender.score(query, ids)
    # hybrid = w (cosine + 1) / (best + 1) + words: solved for the words, in units of a cosine.
    scale = fusion.dense_weight / (
        1.0
        + float(
            np.max(
                recommender.score(query, [recommender.search(query, k=1, mode="dense").product_ids[0]], mode="dense")
            )
        )
    )
    return (hybrid / scale - (cosines + 1.0)).astype(np.float32)
