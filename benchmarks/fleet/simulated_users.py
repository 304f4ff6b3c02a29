"""Simulated users with known preferences, so that the results of the learning loop can be compared with the truth.

A user examines place k with probability k^-0.7 and clicks a product by its attraction, both independent. A product's
attraction to a query is its judged gain there (0.02 where nobody judged), and less when its brand is not one of those
that these users like: the judgements of the shop do not contain this, and the clicks do.
"""

import random
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.events import FeedbackEvent
from edge_runtime.feedback.exploration import LoggingPolicy, ShownList, show_page
from train.clicks.log import FeedbackLog
from train.data.tables import Shop

Float64 = npt.NDArray[np.float64]

DISLIKED = 0.35
UNJUDGED = 0.02
_LOOK_DECAY = 0.7
_LIKED_BRANDS = 0.4


@dataclass(frozen=True)
class People:
    """The truth.

    Attributes:
        queries: what they ask, the first most often.
        shares: float64 [queries], how often.
        attraction: query -> product id -> chance to be wanted when looked at.
        look: float64 [places], chance that a place is looked at.
    """

    queries: tuple[str, ...]
    shares: Float64
    attraction: Mapping[str, Mapping[str, float]]
    look: Float64

    def value(self, rankings: Mapping[str, Sequence[str]]) -> float:
        """Return the true clicked or bought products per list of a ranking."""
        worth = [
            sum(look * self.attraction[query][one] for look, one in zip(self.look, rankings[query], strict=False))
            for query in self.queries
        ]
        return float(self.shares @ np.array(worth))


def people_of(shop: Shop, queries: Sequence[str], *, places: int) -> People:
    """Return people who ask `queries` of `shop`, by a Zipf law in their order."""
    gains: dict[str, dict[int, float]] = {query: {} for query in queries}
    for judgement in shop.judgements:
        if judgement.query in gains:
            gains[judgement.query][judgement.row] = judgement.gain
    liked = [_likes(product.brand) for product in shop.products]
    attraction = {
        query: {
            product.product_id: max(UNJUDGED, 0.8 * found.get(row, 0.0)) * (1.0 if liked[row] else DISLIKED)
            for row, product in enumerate(shop.products)
        }
        for query, found in gains.items()
    }
    shares = 1.0 / np.arange(1, len(queries) + 1) ** 0.5
    look = np.asarray(np.arange(1, places + 1) ** -_LOOK_DECAY, dtype=np.float64)
    return People(tuple(queries), shares / shares.sum(), attraction, look)


def _likes(brand: str | None) -> bool:
    return zlib.crc32(f"liked {brand}".encode()) % 100 < _LIKED_BRANDS * 100


@dataclass(frozen=True)
class Seen:
    """A page that a person saw, and what they clicked on it."""

    device: int
    page: ShownList
    clicked: frozenset[str]

    def events(self, at_s: float) -> list[FeedbackEvent]:
        """Return what their device records."""
        return [
            *self.page.impressions(at_s),
            *(self.page.action("click", product_id, at_s + 5.0) for product_id in sorted(self.clicked)),
        ]


def seen_lists(
    people: People,
    ranked: Mapping[str, Sequence[str]],
    *,
    bundle_id: str,
    policy: LoggingPolicy,
    devices: int,
    lists: int,
    seed: int,
) -> Iterator[Seen]:
    """Give each page that these people see.

    Args:
        people: who they are.
        ranked: what the bundle ranks for each query, page and reserve.
        bundle_id: of that bundle.
        policy: how pages are randomized.
        devices: how many people.
        lists: how many lists they see in all.
        seed: of every choice.
    """
    chance = random.Random(seed)
    weights = list(people.shares)
    for number in range(lists):
        query = chance.choices(people.queries, weights)[0]
        page = show_page(ranked[query], len(people.look), policy, chance)
        clicked = frozenset(
            one.product_id
            for one in page
            if chance.random() < people.look[one.position - 1] * people.attraction[query][one.product_id]
        )
        shown = ShownList(f"list-{seed}-{number}", bundle_id, query, page)
        yield Seen(chance.randrange(devices), shown, clicked)


def log_of(seen: Sequence[Seen], people: People, *, devices: int) -> FeedbackLog:
    """Return the same as arrays, as `read_feedback_log` gives them."""
    query_of = {query: number for number, query in enumerate(people.queries)}
    names = sorted({one.product_id for each in seen for one in each.page.products})
    product_of = {name: number for number, name in enumerate(names)}
    rows = [
        (query_of[str(each.page.query)], product_of[one.product_id], each.device, number, one.position, one.rank,
         one.propensity, one.page_propensity, one.product_id in each.clicked)
        for number, each in enumerate(seen) for one in each.page.products
    ]  # fmt: skip
    columns = np.array(rows, dtype=np.float64).T
    query, product, device, list_of, position, rank = columns[:6].astype(np.int32)
    return FeedbackLog(
        people.queries, tuple(names), devices, query, product, device, list_of, position, rank,
        columns[6], columns[7], columns[8], {},
    )  # fmt: skip
