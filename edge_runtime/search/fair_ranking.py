"""Bounded exposure: no group of products (a seller) gets more attention than its merit allows.

A place p, counted from 1, gets the attention 1 / log2(p + 1); the exposure of a group is the sum over its places, and
the bound is on exposure share / merit share, as in Singh and Joachims, "Fairness of Exposure in Rankings" (2018). Their
ranking is drawn at random from a doubly stochastic matrix; an answer on a device has to be the same each time, so
this one is greedy and deterministic, like the re-rankers of Geyik, Ambler and Kenthapadi, "Fairness-Aware Ranking in
Search & Recommendation Systems with Application to LinkedIn Talent Search" (2019).

Merit is per answer: each candidate's merit is how far its score lies above the worst candidate's. The caller may give
shares of merit instead.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.types import Float32, Float64
from edge_runtime.products.filters import Where
from edge_runtime.recommender import Mode, Recommendations, Recommender
from edge_runtime.search.user_profile import PersonalTaste

CANDIDATES_PER_PLACE = 5
"""So many candidates for each place of the answer compete, and share the merit."""


@dataclass(frozen=True)
class ExposureBound:
    """How much of the exposure a group may take.

    Attributes:
        max_ratio: bound of exposure share / merit share, at least 1; infinity bounds nothing. A place cannot be cut in
            two: a group may pass its bound with the place that brings it there, and gets no further one.
        merit_shares: group -> share of merit, 0 … 1, for every answer alike; None takes each answer's own scores.
            A group that is not named has no merit.
    """

    max_ratio: float
    merit_shares: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        """Refuse a bound that no ranking holds.

        Raises:
            ConfigError: `max_ratio` below 1, or a share outside 0 … 1.
        """
        if not self.max_ratio >= 1.0:
            raise ConfigError(
                f"max_ratio is {self.max_ratio}, expected 1 or more: all groups together get all exposure"
            )
        for group, share in (self.merit_shares or {}).items():
            if not 0.0 <= share <= 1.0:
                raise ConfigError(f"the merit share of group {group!r} is {share}, expected 0 to 1")


def search_fairly(
    recommender: Recommender,
    query: str,
    *,
    bound: ExposureBound,
    k: int = 10,
    where: Where | None = None,
    exclude: Collection[str] = (),
    mode: Mode = "hybrid",
    taste: PersonalTaste | None = None,
    deadline_ms: float | None = None,
) -> Recommendations:
    """Return what `Recommender.search` does, re-ranked so that no group takes more exposure than `bound` allows.

    The scores are those of the search and so need not fall.

    Raises:
        ConfigError: as for `Recommender.search`.
    """
    answer = recommender.search(
        query,
        k=CANDIDATES_PER_PLACE * k,
        where=where,
        exclude=exclude,
        mode=mode,
        taste=taste,
        deadline_ms=deadline_ms,
    )
    groups = [recommender.product(one).group for one in answer.product_ids]
    order = bound_exposure(answer.scores, groups, k, bound)
    ids = tuple(answer.product_ids[at] for at in order)
    return replace(answer, product_ids=ids, scores=answer.scores[order])


def bound_exposure(scores: Float32, groups: Sequence[str | None], k: int, bound: ExposureBound) -> list[int]:
    """Return which of the candidates stand in the first `k` places under `bound`.

    At each place stands the best remaining product whose group has not used up its exposure. Products without a group
    are never moved down. Where every remaining group has used up its exposure, the best product is placed anyway:
    an answer is never shorter for being fair.

    Args:
        scores: float32 [candidates], falling.
        groups: of each candidate; None where it has none.
        k: how many places.
        bound: see `ExposureBound`.

    Returns:
        `min(k, candidates)` positions in `scores`.
    """
    count = min(k, len(scores))
    attention = place_attention(count)
    shares = bound.merit_shares if bound.merit_shares is not None else _merit_shares(scores, groups)
    limit = {group: bound.max_ratio * share * float(attention.sum()) for group, share in shares.items()}
    used: dict[str, float] = defaultdict(float)
    waiting, order = list(range(len(scores))), []
    for place in range(count):
        chosen = next((at for at in waiting if _may_stand(groups[at], used, limit)), waiting[0])
        waiting.remove(chosen)
        order.append(chosen)
        group = groups[chosen]
        if group is not None:
            used[group] += float(attention[place])
    return order


def place_attention(places: int) -> Float64:
    """Return float64 [places]: 1 / log2(place + 1)."""
    return 1.0 / np.log2(np.arange(2, places + 2, dtype=np.float64))


def _merit_shares(scores: Float32, groups: Sequence[str | None]) -> dict[str, float]:
    merits = scores.astype(np.float64) - float(scores.min(initial=np.inf))
    if not merits.any():
        merits = np.ones_like(merits)
    shares: dict[str, float] = defaultdict(float)
    for group, merit in zip(groups, merits.tolist(), strict=True):
        if group is not None:
            shares[group] += merit / float(merits.sum())
    return shares


def _may_stand(group: str | None, used: Mapping[str, float], limit: Mapping[str, float]) -> bool:
    return group is None or used.get(group, 0.0) < limit.get(group, 0.0)
