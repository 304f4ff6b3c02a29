"""Judged queries that no training stage sees: the report's figures and the fusion weight come from them."""

import zlib
from collections import defaultdict
from dataclasses import replace

from train.data.tables import Judgement, Shop

MIN_JUDGED = 3
"""A query with fewer judged products, or with one gain for all of them, says nothing about ranking."""


def ranked_queries(shop: Shop) -> dict[str, list[Judgement]]:
    """Return the queries of `shop` whose judgements say something about ranking, with these."""
    by_query: dict[str, list[Judgement]] = defaultdict(list)
    for judgement in shop.judgements:
        by_query[judgement.query].append(judgement)
    return {
        query: judgements
        for query, judgements in by_query.items()
        if len(judgements) >= MIN_JUDGED and len({judgement.gain for judgement in judgements}) > 1
    }


def split_holdout(shop: Shop, share: float) -> tuple[Shop, dict[str, list[Judgement]]]:
    """Return the shop without its held-out queries, and these with their judgements.

    A query is held out by the CRC-32 of its text, so the same query is on the same side in every build; it also
    disappears from the unlabelled queries. `share` 0 holds nothing out.
    """
    held = {
        query: judgements
        for query, judgements in ranked_queries(shop).items()
        if zlib.crc32(f"holdout {query.strip().lower()}".encode()) % 1000 < share * 1000
    }
    names = {query.strip().lower() for query in held}
    rest = tuple(judgement for judgement in shop.judgements if judgement.query.strip().lower() not in names)
    queries = tuple(query for query in shop.queries if query.strip().lower() not in names)
    return replace(shop, judgements=rest, queries=queries), held
