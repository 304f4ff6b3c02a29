"""Peers that recommend from purchases: popularity, "buy again", TIFU-KNN, UP-CF; item-kNN and ALS of the package implicit."""

import itertools
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import BM25Recommender
from implicit.utils import ParameterWarning
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from benchmarks.recommendation.online_retail_protocol import (
    Customer,
    Rank,
    RetailData,
    baskets_of,
    mean_ndcg,
    rank_scores,
)
from edge_runtime.contract.types import Int32

Baskets = Mapping[str, Sequence[Int32]]

AGAIN_DECAY = 0.9
KNN_NEIGHBOURS = 100
ALS_FACTORS = 128
ALS_ITERATIONS = 15

Setting = TypeVar("Setting")


@dataclass(frozen=True)
class UserKnn:
    """Settings of UP-CF: recent baskets that count, asymmetry of the cosine, exponent of the similarity."""

    window: int = 10
    asymmetry: float = 0.25
    locality: float = 5.0


@dataclass(frozen=True)
class TifuKnn:
    """Settings of TIFU-KNN: neighbors, baskets of a group, decay in and among groups, share of the customer's own vector."""

    neighbors: int = 300
    group_size: int = 7
    basket_decay: float = 0.9
    group_decay: float = 0.7
    own_share: float = 0.7


USER_KNN_GRID = tuple(itertools.starmap(UserKnn, itertools.product((5, 25, 100), (0.25, 0.75), (1.0, 5.0, 10.0))))
TIFU_GRID = tuple(
    TifuKnn(neighbors, 7, 0.9, group_decay, own_share)
    for neighbors, group_decay, own_share in itertools.product((100, 300), (0.5, 0.7, 0.9), (0.5, 0.7, 0.9))
)
"""Small grids about the papers' own settings; one is chosen by `tuned`."""


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


def user_knn_peer(counts: sp.csr_matrix, baskets: Baskets, setting: UserKnn = UserKnn()) -> Rank:
    """Return UP-CF: the purchases of similar customers, by their own frequency in their last baskets.

    Faggioli, Polato and Aiolli, "Recency aware collaborative filtering for next basket recommendation" (UMAP 2020).
    """
    products = counts.shape[1]
    recent = {user: one[-setting.window :] for user, one in baskets.items()}
    popularity = purchase_counts(recent, products).multiply(1 / np.array([[len(one)] for one in recent.values()]))
    bought = counts.astype(bool).astype(np.float32)
    size = np.maximum(np.asarray(bought.sum(axis=1)).ravel(), 1.0)
    shared = (bought @ bought.T).toarray()
    similarity = (
        shared / size[:, None] ** setting.asymmetry / size[None, :] ** (1 - setting.asymmetry)
    ) ** setting.locality
    return _rank_by_user(np.asarray(similarity @ sp.csr_matrix(popularity)), baskets)


def tifu_knn_peer(baskets: Baskets, products: int, setting: TifuKnn = TifuKnn()) -> Rank:
    """Return TIFU-KNN: a customer's decayed purchases, mixed with the mean of the nearest customers'.

    Hu, He, Gao and Zhang, "Modeling personalized item frequency information for next-basket recommendation" (SIGIR 2020):
    baskets decay within a group of `group_size`, and the groups among each other.
    """
    vectors = np.zeros((len(baskets), products), np.float32)
    for vector, of_user in zip(vectors, baskets.values(), strict=True):
        groups = -(-len(of_user) // setting.group_size)
        for age, basket in enumerate(reversed(of_user)):
            group, within = divmod(age, setting.group_size)
            filled = min(setting.group_size, len(of_user) - group * setting.group_size)
            vector[basket] += setting.group_decay**group * setting.basket_decay**within / (groups * filled)
    squares = (vectors**2).sum(axis=1)
    distances = squares[:, None] + squares[None, :] - 2 * vectors @ vectors.T
    np.fill_diagonal(distances, np.inf)
    count = min(setting.neighbors, len(baskets) - 1)
    nearest = np.argpartition(distances, count - 1, axis=1)[:, :count]
    others = np.stack([vectors[rows].mean(axis=0) for rows in nearest])
    return _rank_by_user(setting.own_share * vectors + (1 - setting.own_share) * others, baskets)


def _rank_by_user(scores: npt.NDArray[np.floating], baskets: Baskets) -> Rank:
    place = {user: number for number, user in enumerate(baskets)}
    return lambda customer, new_only: rank_scores(scores[place[customer.user_id]], customer, new_only)


def tuned(make: Callable[[Baskets, Setting], Rank], grid: Iterable[Setting], data: RetailData) -> Setting:
    """Return the setting with the best nDCG@10 on each customer's last training basket, learned from those before it."""
    before, asked = dict(baskets_of(data)), []
    for customer in data.customers:
        if len(customer.history) > 1:
            before[customer.user_id] = customer.history[:-1]
            asked.append(replace(customer, history=customer.history[:-1], basket=np.sort(customer.history[-1])))
    settings = list(grid)
    return max(settings, key=lambda one: mean_ndcg(make(before, one), asked)) if asked else settings[0]
