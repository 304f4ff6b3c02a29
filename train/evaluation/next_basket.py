"""Quality of next-basket prediction from histories, beside two rules without a model: popularity and "buy again"."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.types import Int32
from train.evaluation.metrics import basket_figures
from train.sampling.next_basket_batches import HistoryData

Scores = npt.NDArray[np.floating]

TOP = 10
AGAIN_DECAY = 0.9
"""A basket ten purchases ago counts about a third of the last one."""


@dataclass(frozen=True)
class NextBasketQuality:
    """Means over users; `new_` counts only products that the user had never bought (users with none are left out)."""

    name: str
    users: int
    recall10: float
    ndcg10: float
    new_recall10: float
    new_ndcg10: float


def buy_again_scores(baskets: Sequence[Int32], products: int, *, decay: float = AGAIN_DECAY) -> Scores:
    """Return float64 [products]: how often a user bought each, a basket counting `decay` times the one after it."""
    scores = np.zeros(products)
    for age, rows in enumerate(reversed(baskets)):
        scores[rows] += decay**age
    return scores


def next_basket_quality(
    name: str, scores: Scores, histories: Sequence[Int32], baskets: Sequence[Int32]
) -> NextBasketQuality:
    """Rank all products by `scores` [users, products] and compare with what each user bought next.

    Raises:
        ValueError: no user.
    """
    if not len(histories):
        raise ValueError("next_basket_quality needs at least one user")
    whole: list[tuple[float, float]] = []
    new: list[tuple[float, float]] = []
    for row, history, basket in zip(scores, histories, baskets, strict=True):
        whole.append(_ranked(row, basket))
        fresh = np.setdiff1d(basket, history)
        if len(fresh):
            unseen = np.array(row, dtype=np.float64)
            unseen[history] = -np.inf
            new.append(_ranked(unseen, fresh))
    recall, ndcg = np.mean(whole, axis=0)
    new_recall, new_ndcg = np.mean(new, axis=0) if new else (0.0, 0.0)
    return NextBasketQuality(name, len(whole), float(recall), float(ndcg), float(new_recall), float(new_ndcg))


def rule_qualities(data: HistoryData) -> list[NextBasketQuality]:
    """Return the quality of popularity and of "buy again" on the held-out users."""
    histories = [pair.history for pair in data.held_out]
    baskets = [pair.basket for pair in data.held_out]
    popular = np.tile(data.popularity, (len(histories), 1))
    products = len(data.popularity)
    # Popularity decides between products that a user bought equally often or never.
    ties = data.popularity / (data.popularity.sum() + 1.0) * 1e-3
    again = np.stack([buy_again_scores(one, products) + ties for one in data.held_out_baskets])
    return [
        next_basket_quality("popularity", popular, histories, baskets),
        next_basket_quality("buy again", again, histories, baskets),
    ]


def _ranked(scores: Scores, basket: Int32) -> tuple[float, float]:
    count = min(TOP, len(scores))
    head = np.argpartition(-scores, count - 1)[:count]
    top = head[np.argsort(-scores[head], kind="stable")].tolist()
    return basket_figures(top, basket.tolist(), TOP)
