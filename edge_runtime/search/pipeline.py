"""From a read query to ranked rows: the deadline levels, the user's taste, other orders than relevance."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from edge_runtime.contract.product_columns import PRODUCT_COLUMNS
from edge_runtime.contract.types import Float32, Float64, Mask
from edge_runtime.inference.encoder import Encoder
from edge_runtime.products.columns import ProductColumns
from edge_runtime.products.product_rows import ProductRows
from edge_runtime.search.deadline import ENCODER, HYBRID, LEXICAL, RESCORED, STATIC, Deadline, LevelCosts
from edge_runtime.search.lexical import LexicalIndex
from edge_runtime.search.query_scores import MIN_CANDIDATES, QueryScores
from edge_runtime.search.ranking import Ranked, best_rows
from edge_runtime.search.vector_index import Catalogue

RELEVANCE, POPULARITY, TITLE = "relevance", "popularity", "title"
_NUMBERS = [column.name for column in PRODUCT_COLUMNS if column.sorts]
SORTS = (RELEVANCE, POPULARITY, *(sort for name in _NUMBERS for sort in (name, f"-{name}")), TITLE)


@dataclass(frozen=True, eq=False)
class Found:
    """Ranked rows, the deadline level that ranked them, the corrected words, and whether no word of the query is known."""

    ranked: Ranked
    level: str
    corrections: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cold_start: bool = False


@dataclass(frozen=True, eq=False)
class Searcher:
    """The parts of an opened bundle that a search takes; may be used from any thread."""

    encoder: Encoder
    catalogue: Catalogue
    lexical: LexicalIndex
    products: ProductRows
    columns: ProductColumns
    costs: LevelCosts
    dense_weight: float

    def scores(self, text: str, mode: str) -> QueryScores:
        """Return the scores of a normalized, not empty text in one of the modes."""
        return QueryScores(text, mode, self.encoder, self.catalogue, self.lexical, self.dense_weight)

    def rank(self, scores: QueryScores, mode: str, count: int, eligible: Mask | None, deadline: Deadline) -> Found:
        """Return the `count` best eligible rows by the best deadline level that finished in time.

        A query of which nothing is known gets the most popular rows, whatever time there is.
        """
        if mode == "lexical":
            return self._rank_words(scores, count, eligible, deadline)
        if not self.costs.fits(ENCODER, deadline):
            return self.popular(count, eligible)
        with self.costs.measured(ENCODER):
            found = Found(_eligible_part(scores.proposed, count, eligible), ENCODER)
        if self.costs.fits(RESCORED, deadline):
            with self.costs.measured(RESCORED):
                found = Found(scores.ranking(count, eligible, "dense"), RESCORED)
            if mode == "hybrid" and self.costs.fits(HYBRID, deadline):
                with self.costs.measured(HYBRID):
                    found = Found(scores.ranking(count, eligible, mode), HYBRID, scores.query.corrections)
        unknown = not scores.knows_anything if found.level == HYBRID else not scores.vector.any()
        incomplete = found.level == ENCODER and not len(found.ranked.rows)
        return self.popular(count, eligible, cold_start=unknown) if unknown or incomplete else found

    def popular(self, count: int, eligible: Mask | None, *, cold_start: bool = False) -> Found:
        """Return the most popular eligible rows: what is known without reading the query."""
        return Found(self.products.most_popular(count, eligible=eligible), STATIC, cold_start=cold_start)

    def personalized(self, ranked: Ranked, taste: Float32, weight: float) -> Ranked:
        """Return the rows in the order of their score plus `weight` times their cosine with the user's vector."""
        if not taste.any():
            return ranked
        scores = ranked.scores + np.float32(weight) * self.catalogue.cosines(taste, ranked.rows)
        return best_rows(ranked.rows, scores, len(ranked.rows))

    def sorted(self, ranked: Ranked, sort: str) -> Ranked:
        """Return the rows in another order, ties by relevance; products without a price come last."""
        if sort == RELEVANCE:
            return ranked
        order = np.argsort(self._keys(sort)[ranked.rows], kind="stable")
        return Ranked(ranked.rows[order], ranked.scores[order])

    def browse(self, sort: str, eligible: Mask | None) -> Ranked:
        """Return all eligible rows in an order, the most popular first among equals, with their popularity."""
        everything = self.products.most_popular(len(self.catalogue), eligible=eligible)
        return everything if sort in (RELEVANCE, POPULARITY) else self.sorted(everything, sort)

    def matching(self, scores: QueryScores) -> Mask:
        """Return bool [products]: the rows that any word matches, or the nearest ones when none does."""
        mask = np.zeros(len(self.catalogue), dtype=np.bool_)
        mask[scores.hits.rows] = True
        if not len(scores.hits.rows) and scores.vector.any():
            mask[scores.nearest.rows] = True
        return mask

    def _rank_words(self, scores: QueryScores, count: int, eligible: Mask | None, deadline: Deadline) -> Found:
        if not self.costs.fits(LEXICAL, deadline):
            return self.popular(count, eligible)
        with self.costs.measured(LEXICAL):
            return Found(scores.ranking(count, eligible, "lexical"), LEXICAL, scores.query.corrections)

    def _keys(self, sort: str) -> Float64:
        if sort == TITLE:
            return self.columns.title_order().astype(np.float64)
        if sort == POPULARITY:
            return -self.products.popularity().astype(np.float64)
        numbers = self.columns.numbers(sort.removeprefix("-"))
        return np.where(np.isnan(numbers), np.inf, -numbers if sort.startswith("-") else numbers)


def pool_size(count: int, *, reordered: bool) -> int:
    """Return how many of the most relevant rows are ranked for an answer of `count`.

    An answer that is put into another order is chosen from at least as many as each side of a hybrid search proposes,
    so that its pages fit together.
    """
    return max(count, MIN_CANDIDATES) if reordered else count


def _eligible_part(proposed: Ranked, count: int, eligible: Mask | None) -> Ranked:
    rows, scores = proposed.rows, proposed.scores
    if eligible is not None:
        kept = eligible[rows]
        rows, scores = rows[kept], scores[kept]
    return Ranked(rows[:count], scores[:count])
