"""Holdout and folds of judged queries; a near copy of a held-out query is not used for training either."""

import zlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from train.data.tables import Judgement, Shop

FOLDS = 5
"""Each model learns from four fifths of the queries; every query is tested once (docs/benchmarks.md)."""

SAME_QUERY_JACCARD = 0.6
"""Two queries whose sets of words overlap by this much ask for the same thing; the folds published for ESCI say so."""

MIN_JUDGED = 3
"""A query with fewer judged products, or with one gain for all of them, says nothing about ranking."""


class NearCopies:
    """Finds, among some queries, the one that another query is a near copy of."""

    def __init__(self, queries: Iterable[str]) -> None:
        """Index the words of `queries`."""
        self._queries = list(queries)
        self._words = [_words(query) for query in self._queries]
        self._holders: dict[str, list[int]] = defaultdict(list)
        for index, words in enumerate(self._words):
            for word in words:
                self._holders[word].append(index)

    def nearest(self, query: str) -> str | None:
        """Return the query whose set of lower-case words overlaps that of `query` most, the first such one on a tie.

        None when no Jaccard overlap reaches `SAME_QUERY_JACCARD`.
        """
        words = _words(query)
        best, best_overlap = None, 0.0
        for index in sorted({index for word in words for index in self._holders.get(word, ())}):
            overlap = len(words & self._words[index]) / len(words | self._words[index])
            if overlap >= SAME_QUERY_JACCARD and overlap > best_overlap:
                best, best_overlap = self._queries[index], overlap
        return best

    def has(self, query: str) -> bool:
        """Say whether one of the queries asks for the same as `query`."""
        return self.nearest(query) is not None


def query_fold(query: str, *, folds: int = FOLDS) -> int:
    """Return the fold of a judged query, 0 … folds - 1: the CRC-32 of its stripped lower-case text, modulo `folds`."""
    return zlib.crc32(query.strip().lower().encode()) % folds


def assign_folds(judged_queries: Iterable[str], other_queries: Iterable[str], *, folds: int = FOLDS) -> dict[str, int]:
    """Return the fold of every query, such that no query leaks into another fold as a near copy of a judged one.

    A judged query has its own `query_fold`. Another query takes the fold of the judged query that it is a near copy of,
    and its own `query_fold` when there is none.

    Args:
        judged_queries: queries on which quality is reported.
        other_queries: further queries that may train; one that is also judged counts as judged.
        folds: how many folds.
    """
    assigned = {query: query_fold(query, folds=folds) for query in judged_queries}
    judged = NearCopies(assigned)
    for query in other_queries:
        if query not in assigned:
            assigned[query] = query_fold(judged.nearest(query) or query, folds=folds)
    return assigned


def ranked_queries(shop: Shop) -> dict[str, list[Judgement]]:
    """Return the queries of `shop` whose judgements say something about ranking, with these."""
    return {
        query: judgements
        for query, judgements in shop.judgements_by_query().items()
        if len(judgements) >= MIN_JUDGED and len({judgement.gain for judgement in judgements}) > 1
    }


def split_holdout(shop: Shop, share: float) -> tuple[Shop, dict[str, list[Judgement]]]:
    """Return the shop without its held-out queries and their near copies, and the held-out ones with their judgements.

    A query is held out by the CRC-32 of its text, so the same query is held out in every build. What is a near copy of
    a held-out query, judged or not, stays in neither part, unless it is held out itself. `share` 0 holds nothing out.
    """
    held = {
        query: judgements
        for query, judgements in ranked_queries(shop).items()
        if zlib.crc32(f"holdout {query.strip().lower()}".encode()) % 1000 < share * 1000
    }
    copies = NearCopies(held)
    held_out = {query: copies.has(query) for query in {*shop.queries, *(row.query for row in shop.judgements)}}
    rest = tuple(judgement for judgement in shop.judgements if not held_out[judgement.query])
    queries = tuple(query for query in shop.queries if not held_out[query])
    return replace(shop, judgements=rest, queries=queries), held


def _words(query: str) -> frozenset[str]:
    return frozenset(query.lower().split())
