"""Peers that recommend from purchases: popularity, "buy again", item-kNN and ALS of the package implicit."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import scipy.sparse as sp
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import BM25Recommender
from implicit.utils import ParameterWarning
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from benchmarks.recommendation.online_retail_protocol import Customer, Rank, rank_scores
from edge_runtime.contract.types import Int32

Baskets = Mapping[str, Sequence[Int32]]

AGAIN_DECAY = 0.9
KNN_NEIGHBOURS = 100
ALS_FACTORS = 128
ALS_ITERATIONS = 15


def purchase_counts(baskets: Baskets, products: int) -> sp.csr_matrix:
    """Return float32 [users, products]: in how many of a user's baskets a product is; users in the mapping's order."""
    users = np.concatenate(
        [np.full(sum(map(len, one)), number, np.int64) for number, one in enumerate(baskets.values())]
    )
    rows = np.concatenate([row for one in baskets.values() for row in one])
    counts = sp.coo_matrix((np.ones(len(rows), np.float32), (users, rows)), shape=(len(baskets), products))
    return sp.csr_matrix(counts)


def popularity_peer(counts: sp.csr_matrix) -> Rank:
    """Return a ranker by the number of baskets that hold a product."""
    popularity = np.asarray(counts.sum(axis=0)).ravel()
    return lambda customer, new_only: rank_scores(popularity, customer, new_only)


def buy_again_peer(counts: sp.csr_matrix) -> Rank:
    """Return a ranker by the customer's own purchases, a basket counting 0.9 times the one after it; then popularity."""
    popularity = np.asarray(counts.sum(axis=0)).ravel()
    ties = popularity / (popularity.sum() + 1.0) * 1e-3

    def rank(customer: Customer, new_only: bool) -> list[int]:
        scores = ties.copy()
        for age, basket in enumerate(reversed(customer.history)):
            scores[basket] += AGAIN_DECAY**age
        return rank_scores(scores, customer, new_only)

    return rank


def item_knn_peer(counts: sp.csr_matrix, users: Sequence[str]) -> Rank:
    """Return a ranker by the 100 nearest products of each bought one, BM25 weights."""
    model = BM25Recommender(K=KNN_NEIGHBOURS, num_threads=1)
    with warnings.catch_warnings():
        # It converts its own intermediate matrix and warns of that.
        warnings.simplefilter("ignore", ParameterWarning)
        model.fit(counts, show_progress=False)
    place = {user: number for number, user in enumerate(users)}
    similarity = sp.csr_matrix(model.similarity)

    def rank(customer: Customer, new_only: bool) -> list[int]:
        scores = (counts[place[customer.user_id]] @ similarity).toarray()[0]
        return rank_scores(scores, customer, new_only)

    return rank


def als_peer(counts: sp.csr_matrix, users: Sequence[str], *, seed: int) -> Rank:
    """Return a ranker by matrix factorization of the counts."""
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=ALS_FACTORS, iterations=ALS_ITERATIONS, num_threads=1, random_state=seed, use_gpu=False
        )
        model.fit(counts, show_progress=False)
    place = {user: number for number, user in enumerate(users)}

    def rank(customer: Customer, new_only: bool) -> list[int]:
        return rank_scores(model.item_factors @ model.user_factors[place[customer.user_id]], customer, new_only)

    return rank
