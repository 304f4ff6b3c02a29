"""Team-draft interleaving: two rankings in one list, so that one user's clicks show which is better.

Two captains pick in turns, the first of each round by a coin, each the best product of its ranking that is not taken
(Radlinski, Kurup and Joachims, "How does clickthrough data reflect retrieval quality?", CIKM 2008). A click counts for
the team that picked the product; whichever ranking is better gets more of them, while neither is favored by position.
Each user sees both, so far fewer users are needed than with two separate groups.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.events import InterleavingTeam


@dataclass(frozen=True)
class InterleavedList:
    """What is shown, best first, and whose pick each product is (`FeedbackEvent.team`)."""

    product_ids: tuple[str, ...]
    teams: tuple[InterleavingTeam, ...]

    def team_of(self, product_id: str) -> InterleavingTeam | None:
        """Return whose pick a shown product is, None for one that is not shown."""
        return self.teams[self.product_ids.index(product_id)] if product_id in self.product_ids else None


def team_draft(a: Sequence[str], b: Sequence[str], *, k: int, chance: random.Random) -> InterleavedList:
    """Return a list of at most `k` products of both rankings, each product once.

    Args:
        a: product ids by the first ranking, best first.
        b: by the second.
        k: length of the list.
        chance: the source of the coins.

    Raises:
        ConfigError: `k` below 1.
    """
    if k < 1:
        raise ConfigError(f"expected a list of at least one product, got k = {k}")
    shown: dict[str, InterleavingTeam] = {}
    rankings: dict[InterleavingTeam, Sequence[str]] = {"a": a, "b": b}
    while len(shown) < k:
        before = len(shown)
        captains: list[InterleavingTeam] = ["a", "b"] if chance.random() < 0.5 else ["b", "a"]
        for team in captains:
            pick = next((product for product in rankings[team] if product not in shown), None)
            if pick is not None and len(shown) < k:
                shown[pick] = team
        if len(shown) == before:
            break
    return InterleavedList(tuple(shown), tuple(shown.values()))
