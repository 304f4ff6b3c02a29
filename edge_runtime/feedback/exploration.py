"""A small randomization of shown lists, with logged and exactly known probabilities.

Clicks on a list that is always shown in one order do not separate position bias from attraction. So the device may (1)
put a product from below the page, the guest, into one place, and (2) swap neighbors (FairPairs: Radlinski and Joachims,
"Minimally invasive randomization", 2006). Both keep the list close to the ranking. Every shown product is logged with
the probability of its place, which inverse propensity weighting needs.
"""

import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.events import EVENT_KINDS, IMPRESSION, FeedbackEvent, InterleavingTeam


class LoggingPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a page is randomized.

    The places fall into pairs of neighbors, (1, 2), (3, 4) … or (2, 3), (4, 5) … by a fair coin; each pair is swapped
    with probability `swap`. Before that, with probability `guest`, one of the `reserve` products that follow the page
    takes a place of it, every place and every one of them alike. The default changes nothing.

    Raises:
        ConfigError: a probability outside 0 … 1, or a negative reserve.
    """

    swap: float = 0.0
    guest: float = 0.0
    reserve: int = 10

    def __post_init__(self) -> None:
        """Refuse what is no probability."""
        for name in ("swap", "guest"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name}: expected a probability from 0 to 1, got {getattr(self, name)}")
        if self.reserve < 0:
            raise ConfigError(f"reserve: expected 0 or more products, got {self.reserve}")

    def candidates(self, k: int) -> int:
        """Return how many products to rank for a page of `k`."""
        return k + (self.reserve if self.guest else 0)


@dataclass(frozen=True)
class ShownProduct:
    """A product on a page: where it stands, where the ranking had it, and with which probabilities it came there.

    `score` is the ranking's; `team` whose pick it was in an interleaved list. See `FeedbackEvent` for the others.
    """

    product_id: str
    position: int
    rank: int
    propensity: float
    page_propensity: float
    score: float = 0.0
    team: InterleavingTeam | None = None


@dataclass(frozen=True)
class ShownList:
    """A page that was shown: what later clicks are recorded against."""

    list_id: str
    bundle_id: str
    query: str | None
    products: tuple[ShownProduct, ...]
    experiment: str | None = None
    variant: str | None = None

    def impressions(self, timestamp_s: float) -> list[FeedbackEvent]:
        """Return one impression for each product of the page."""
        return [self._event(IMPRESSION, shown, timestamp_s) for shown in self.products]

    def action(self, kind: str, product_id: str, timestamp_s: float) -> FeedbackEvent:
        """Return the event that the user did `kind` with a product of this page: clicked, purchased, dismissed ….

        Raises:
            ConfigError: the page has no such product, or a kind that no list has a part in.
        """
        kinds = [name for name, traits in EVENT_KINDS.items() if traits.in_list]
        if kind not in kinds:
            raise ConfigError(f"expected what happens to a product of a page, one of {', '.join(kinds)}, got {kind!r}")
        for shown in self.products:
            if shown.product_id == product_id:
                return self._event(kind, shown, timestamp_s)
        raise ConfigError(f"product {product_id!r} was not on this page, so its {kind} has no place to be counted at")

    def _event(self, kind: str, shown: ShownProduct, timestamp_s: float) -> FeedbackEvent:
        return FeedbackEvent(
            kind=kind,
            product_id=shown.product_id,
            timestamp_s=timestamp_s,
            bundle_id=self.bundle_id,
            position=shown.position,
            rank=shown.rank,
            propensity=shown.propensity,
            page_propensity=shown.page_propensity,
            list_id=self.list_id,
            experiment=self.experiment,
            variant=self.variant,
            team=shown.team,
            query=self.query,
        )


def new_list_id() -> str:
    """Return a random name for a page; it says nothing about the device or the query."""
    return secrets.token_hex(8)


def show_page(ranked: Sequence[str], k: int, policy: LoggingPolicy, chance: random.Random) -> tuple[ShownProduct, ...]:
    """Return the page of `k` products that `policy` makes of a ranking.

    Args:
        ranked: product ids, best first: `policy.candidates(k)` of them, or fewer when there are no more.
        k: places of the page.
        policy: how to randomize.
        chance: the source of the coins.
    """
    page = list(range(1, min(k, len(ranked)) + 1))
    places = len(page)
    reserve = range(places + 1, min(len(ranked), places + policy.reserve) + 1)
    if policy.guest and reserve and places and chance.random() < policy.guest:
        page[chance.randrange(places)] = chance.choice(reserve)
    for left in range(chance.randrange(2), places - 1, 2):
        if chance.random() < policy.swap:
            page[left], page[left + 1] = page[left + 1], page[left]
    return tuple(
        ShownProduct(
            product_id=ranked[rank - 1],
            position=position,
            rank=rank,
            propensity=propensity(rank, position, places=places, reserve=len(reserve), policy=policy),
            page_propensity=page_propensity(rank, places=places, reserve=len(reserve), policy=policy),
        )
        for position, rank in enumerate(page, 1)
    )


def propensity(rank: int, position: int, *, places: int, reserve: int, policy: LoggingPolicy) -> float:
    """Return the probability that `show_page` puts the product of this rank at this position.

    Args:
        rank: place in the ranking, from 1.
        position: place on the page, from 1.
        places: how many places the page has.
        reserve: how many products follow the page and may be guests.
        policy: how the page is randomized.
    """
    if rank > places:
        # A guest comes to each place alike, and swapping keeps that even.
        return page_propensity(rank, places=places, reserve=reserve, policy=policy) / places
    stays_on_page = page_propensity(rank, places=places, reserve=reserve, policy=policy)
    neighbors = sum(1 for other in (rank - 1, rank + 1) if 1 <= other <= places)
    if position == rank:
        return stays_on_page * (1 - neighbors * policy.swap / 2)
    return stays_on_page * policy.swap / 2 if abs(position - rank) == 1 else 0.0


def page_propensity(rank: int, *, places: int, reserve: int, policy: LoggingPolicy) -> float:
    """Return the probability that `show_page` puts the product of this rank anywhere on the page."""
    guest = policy.guest if reserve else 0.0
    if rank > places:
        return guest / reserve if rank <= places + reserve else 0.0
    return 1 - guest / places
