"""Recommender: an opened bundle that answers searches, recommends, scores and explains."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from edge_runtime.contract.bundle import GOLDEN_FILE
from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.golden import read_golden
from edge_runtime.contract.types import Float32
from edge_runtime.opened_bundle import OpenedBundle
from edge_runtime.products.facets import FacetValue, count_values
from edge_runtime.products.filters import Where
from edge_runtime.search.arguments import check_choice, check_count, check_ids, checked_text
from edge_runtime.search.deadline import Deadline
from edge_runtime.search.explanation import Explanation, HistoryExplanation, explain_history, explain_query
from edge_runtime.search.history_ranking import rank_history
from edge_runtime.search.pipeline import POPULARITY, RELEVANCE, SORTS, pool_size
from edge_runtime.search.query_scores import QueryScores
from edge_runtime.search.ranking import Ranked
from edge_runtime.search.suggestions import Suggestion
from edge_runtime.search.user_profile import PersonalTaste
from edge_runtime.updates.self_test import Proof, check_golden

_LOG = logging.getLogger(__name__)

Mode = Literal["hybrid", "dense", "lexical"]
MODES = ("hybrid", "dense", "lexical")
PERSONAL_WEIGHT = 0.3
"""How much of a cosine with the user's vector is added to a score (docs/device.md has the measurement)."""


@dataclass(frozen=True, eq=False)
class Recommendations:
    """Products, best first.

    Attributes:
        product_ids: the products.
        scores: float32 [n], falling. Hybrid: 0 … 1; dense: cosine; histories: cosine and what repeats; lexical: BM25; cold start: popularity.
        corrections: words of the query that no product has -> the catalogue's words that were looked for instead.
        unknown_history: products of the history that the catalogue does not know; they were left out.
        cold_start: nothing was known of the query or history, so these are the most popular products.
        level: the deadline level that ranked them (edge_runtime/search/deadline.py); empty without a query.
    """

    product_ids: tuple[str, ...]
    scores: Float32
    corrections: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unknown_history: tuple[str, ...] = ()
    cold_start: bool = False
    level: str = ""


class Recommender(OpenedBundle):
    """Answers from one bundle; may be used from any thread. `close` it, or use it as a context manager."""

    def search(
        self,
        query: str,
        *,
        k: int = 10,
        offset: int = 0,
        where: Where | None = None,
        exclude: Collection[str] = (),
        mode: Mode = "hybrid",
        sort: str = RELEVANCE,
        taste: PersonalTaste | None = None,
        personal_weight: float = PERSONAL_WEIGHT,
        deadline_ms: float | None = None,
    ) -> Recommendations:
        """Return the `k` best products for a query; fewer when fewer are eligible or, in lexical mode, match a word.

        A query in which nothing is known, neither by the model nor by the index, gives the most popular products.

        Args:
            query: what a person typed.
            k: how many products, at least 1.
            offset: how many to leave out before: the next page has `offset=k`.
            where: filter (edge_runtime/products/filters.py).
            exclude: product ids that must not be returned.
            mode: "hybrid" mixes meaning and words by the bundle's weights, "dense" and "lexical" take one alone.
            sort: "relevance", or another order of the most relevant products: "popularity", "price" (lowest first),
                "-price", "title". At least 100 products are put in order, more when the page lies beyond.
            taste: the user's own events, by which the most relevant products are re-ranked; None for the same answer
                to everyone.
            personal_weight: how much of the cosine with the user's vector is added to a score.
            deadline_ms: milliseconds, at least 0: answer by then, from the best deadline level that is finished
                (`Recommendations.level`); filters are evaluated first, however long they take. None sets no limit.

        Raises:
            ConfigError: an empty query, `k` below 1, `offset` or `deadline_ms` below 0, an unknown field in `where`, an
                unknown mode or sort.
        """
        deadline = Deadline(deadline_ms, self._searcher.costs.clock)
        check_count(k)
        check_count(offset, name="offset", least=0)
        check_choice(sort, SORTS, "sort")
        scores = self._query_scores(query, mode)
        eligible = self._eligible(where, exclude)
        reordered = sort != RELEVANCE or taste is not None
        found = self._searcher.rank(scores, mode, pool_size(offset + k, reordered=reordered), eligible, deadline)
        ranked = found.ranked
        if taste is not None and not found.cold_start:
            ranked = self._searcher.personalized(ranked, self.taste_vector(taste), personal_weight)
        page = _page(self._searcher.sorted(ranked, sort), offset, k)
        return self._answer(page, corrections=found.corrections, cold_start=found.cold_start, level=found.level)

    def search_batch(
        self, queries: Sequence[str], *, k: int = 10, where: Where | None = None, mode: Mode = "hybrid"
    ) -> list[Recommendations]:
        """Return what `search` gives for each query, one after another: a device's models take one query at a time.

        Raises:
            ConfigError: as for `search`.
        """
        check_ids(queries, "queries")
        return [self.search(query, k=k, where=where, mode=mode) for query in queries]

    def browse(
        self,
        *,
        k: int = 10,
        offset: int = 0,
        where: Where | None = None,
        exclude: Collection[str] = (),
        sort: str = POPULARITY,
    ) -> Recommendations:
        """Return a page of all eligible products in an order, without a query; the scores are their popularity.

        Args:
            k: how many products, at least 1.
            offset: how many to leave out before: the next page has `offset=k`.
            where: filter (edge_runtime/products/filters.py).
            exclude: product ids that must not be returned.
            sort: "popularity" (highest first), "price" (lowest first), "-price", "rating", "-rating" or "title".

        Raises:
            ConfigError: `k` below 1, `offset` below 0, an unknown field in `where`, or an unknown sort.
        """
        check_count(k)
        check_count(offset, name="offset", least=0)
        check_choice(sort, SORTS, "sort")
        return self._answer(_page(self._searcher.browse(sort, self._eligible(where, exclude)), offset, k))

    def facets(
        self,
        query: str | None = None,
        *,
        by: Sequence[str] = ("brand", "category", "price"),
        where: Where | None = None,
        limit: int = 10,
    ) -> dict[str, tuple[FacetValue, ...]]:
        """Return how many matching products each value of some fields has, exactly, by field.

        The matching products are those in which a word of the query occurs (or, when none has any, the nearest ones)
        and which fulfil `where`. The filter on a field itself does not count for that field, so that a user can
        choose another value.

        Args:
            query: what a person typed; None for the whole catalogue.
            by: "brand", "category", "group", "price", "rating" or "attributes.NAME".
            where: filter (edge_runtime/products/filters.py).
            limit: at most so many values of a field.

        Raises:
            ConfigError: an empty query, or an unknown field in `by` or `where`.
        """
        check_count(limit, name="limit")
        check_ids(by, "by")
        for one in by:
            self._columns.check_field(one)
        matching = None if query is None else self._searcher.matching(self._query_scores(query, "hybrid"))
        counted = {}
        for one in by:
            others = {field: value for field, value in (where or {}).items() if field != one}
            mask = self._products.matching(others)
            counted[one] = count_values(self._columns, one, mask if matching is None else mask & matching, limit)
        return counted

    def suggest(self, prefix: str, *, k: int = 8) -> tuple[Suggestion, ...]:
        """Return at most `k` completions of what is being typed: queries, brands, categories, words, titles.

        An empty `prefix`, or one without a letter or digit, has none.

        Raises:
            ConfigError: not a text, or `k` below 1.
        """
        check_count(k)
        if not isinstance(prefix, str):
            raise ConfigError(f"expected a text, found {type(prefix).__name__}")
        return self._suggestions.complete(prefix, k)

    def recommend(
        self, history: Sequence[str], *, k: int = 10, where: Where | None = None, exclude: Collection[str] = ()
    ) -> Recommendations:
        """Return the `k` products that fit a purchase history best, products of the history included.

        Unknown products of the history are left out and named in the answer; an empty or wholly unknown history gives
        the most popular products.

        Args:
            history: product ids, newest last; the newest count (`EncoderSpec.history_items` of them).
            k: how many products, at least 1.
            where: filter (edge_runtime/products/filters.py).
            exclude: product ids that must not be returned, `history` for new products only.

        Raises:
            ConfigError: `history` is not a list of ids, `k` below 1, or an unknown field in `where`.
        """
        check_count(k)
        check_ids(history, "history")
        known = self._products.rows_of(history)
        unknown = tuple(dict.fromkeys(one for one in history if one not in known))
        if unknown:
            _LOG.warning(
                "left out of the history, because the catalogue has no such product: %s", ", ".join(unknown[:5])
            )
        eligible = self._eligible(where, exclude)
        rows = np.array([known[one] for one in history if one in known], dtype=np.int32)
        rows = rows[-self._encoder.history_items :]
        query = self._encoder.read_history(self._catalogue.vectors_of(rows))
        if not query.vector.any():
            return self._answer(
                self._products.most_popular(k, eligible=eligible), unknown_history=unknown, cold_start=True
            )
        return self._answer(rank_history(self._catalogue, query, rows, k, eligible=eligible), unknown_history=unknown)

    def similar(
        self, product_id: str, *, k: int = 10, where: Where | None = None, exclude: Collection[str] = ()
    ) -> Recommendations:
        """Return the `k` products nearest to one product, without itself; the scores are cosines, -1 … 1.

        Fewer come back when fewer are eligible.

        Raises:
            ConfigError: an unknown product, `k` below 1, or an unknown field in `where`.
        """
        check_count(k)
        row = self._known_row(product_id)
        eligible = self._eligible(where, [*exclude, product_id])
        vector = self._catalogue.vectors_of(np.array([row], dtype=np.int32))[0]
        return self._answer(self._catalogue.top(vector / np.linalg.norm(vector), k, eligible=eligible))

    def score(self, query: str, product_ids: Sequence[str], *, mode: Mode = "hybrid") -> Float32:
        """Return float32 [product_ids]: the scores that `search` in the same mode gives these products.

        Raises:
            ConfigError: an empty query, an unknown product or mode.
        """
        rows = self._known_rows(product_ids)
        scores = self._query_scores(query, mode)
        return scores.of(rows, mode)

    def score_parts(self, query: str, product_ids: Sequence[str]) -> tuple[Float32, Float32]:
        """Return cosines and lexical scores of products, both float32 [product_ids]: what the hybrid score mixes.

        Raises:
            ConfigError: an empty query or an unknown product.
        """
        rows = self._known_rows(product_ids)
        scores = self._query_scores(query, "hybrid")
        return scores.cosines(rows), scores.hits.of(rows)

    def explain(self, query: str, product_id: str) -> Explanation:
        """Return what each word of the query contributes to the product's hybrid score, 0 … 1.

        Raises:
            ConfigError: an empty query or an unknown product.
        """
        row = self._known_row(product_id)
        scores = self._query_scores(query, "hybrid")
        return explain_query(scores, checked_text(query), product_id, row, lexical=self._lexical, encoder=self._encoder)

    def explain_history(self, history: Sequence[str], product_id: str) -> HistoryExplanation:
        """Return what each product of a history contributes to the score of `product_id`.

        Raises:
            ConfigError: an unknown product, or a history without a known one.
        """
        check_ids(history, "history")
        row = self._known_row(product_id)
        known = self._products.rows_of(history)
        items = [one for one in history if one in known][-self._encoder.history_items :]
        if not items:
            raise ConfigError("the catalogue knows no product of this history, so there is nothing to explain")
        rows = np.array([known[one] for one in items], dtype=np.int32)
        target = self._catalogue.vectors_of(np.array([row], dtype=np.int32))[0]
        return explain_history(self._encoder, self._catalogue.vectors_of(rows), items, product_id, target)

    def prove(self) -> Proof:
        """Check that this device gives the golden answers of the bundle; return how close it comes.

        Raises:
            BundleFormatError: `golden.json` cannot be read or is malformed.
            GoldenMismatchError: it does not; the text names the first answer that differs.
        """
        return check_golden(self, read_golden(self.bundle.path(GOLDEN_FILE)))

    def _query_scores(self, query: str, mode: str) -> QueryScores:
        check_choice(mode, MODES, "mode")
        return self._searcher.scores(checked_text(query), mode)

    def _answer(
        self,
        ranked: Ranked,
        *,
        corrections: Mapping[str, tuple[str, ...]] | None = None,
        unknown_history: tuple[str, ...] = (),
        cold_start: bool = False,
        level: str = "",
    ) -> Recommendations:
        self._catalogue.release_pages()
        return Recommendations(
            self._products.ids_of(ranked.rows),
            ranked.scores,
            corrections=corrections or {},
            unknown_history=unknown_history,
            cold_start=cold_start,
            level=level,
        )


def _page(ranked: Ranked, offset: int, k: int) -> Ranked:
    return Ranked(ranked.rows[offset : offset + k], ranked.scores[offset : offset + k])
