"""Writes the suggestions for a query that is being typed into `catalogue.sqlite`: brands, categories, popular queries."""

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence

from edge_runtime.contract.rows import SUGGESTIONS_SCHEMA
from edge_runtime.contract.text import normalize_text
from edge_runtime.search.spelling import fold_word, words_of
from train.data.tables import Judgement, Product

MAX_SUGGESTIONS = 20_000
"""The best ones are kept, so that a shop with a long log of queries does not make the bundle larger."""

_MAX_QUERY_CHARS = 60  # a longer query was pasted rather than typed, and does not fit a list of suggestions
_KIND_WEIGHTS = {"query": 4.0, "category": 2.0, "brand": 1.0}
"""A query that people asked completes what is typed better than a category, this better than a brand."""


def popular_queries(judgements: Sequence[Judgement]) -> dict[str, float]:
    """Return judged queries -> how many products were found good for them: what the shop's owner published of them.

    Unlabelled queries are left out: they are whatever someone typed.
    """
    found: Counter[str] = Counter()
    for judgement in judgements:
        query = normalize_text(judgement.query).lower()
        if judgement.gain > 0 and len(query) <= _MAX_QUERY_CHARS and "@" not in query:
            found[query] += 1
    return {query: float(count) for query, count in found.items()}


def write_suggestions(database: sqlite3.Connection, products: Sequence[Product], queries: Mapping[str, float]) -> None:
    """Add the tables `suggestions` and `suggestion_words`.

    Args:
        database: `catalogue.sqlite` in the making.
        products: whose brands and categories are suggested.
        queries: query -> weight.
    """
    database.executescript(SUGGESTIONS_SCHEMA)
    found: Counter[tuple[str, str]] = Counter()
    for product in products:
        if product.brand:
            found[normalize_text(product.brand), "brand"] += 1
        if product.category:
            found[normalize_text(product.category.rsplit(">", 1)[-1]), "category"] += 1
    weighed = {(text, kind): count * _KIND_WEIGHTS[kind] for (text, kind), count in found.items()}
    weighed |= {(text, "query"): weight * _KIND_WEIGHTS["query"] for text, weight in queries.items()}
    best = sorted(weighed.items(), key=lambda one: (-one[1], one[0]))[:MAX_SUGGESTIONS]
    for number, ((text, kind), weight) in enumerate(best):
        words = " ".join(fold_word(word) for word in words_of(text))
        if words:
            database.execute("INSERT INTO suggestions VALUES (?, ?, ?, ?)", (number, text, kind, weight))
            database.execute("INSERT INTO suggestion_words(rowid, words) VALUES (?, ?)", (number, words))
    database.execute("INSERT INTO suggestion_words(suggestion_words) VALUES('optimize')")
