"""The purchases of the sample shop: users with tastes, who buy products that go together and buy consumables again."""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from train.data.sample.products import SampleProduct, Shelves
from train.data.sample.words import Kind

_OPENING_DAY_S = 1_735_689_600  # 2025-01-01T00:00:00Z
_DAY_S = 86_400
# Chances that what goes with the product is bought at once, or else next time, and that a refill is due.
_TOGETHER, _LATER, _AGAIN = 0.4, 0.5, 0.45


@dataclass(frozen=True)
class _Market:
    """What there is to like: kinds by department, brands by department, colors."""

    by_noun: Mapping[str, Sequence[SampleProduct]]
    kinds: Sequence[Kind]
    brands: Mapping[str, Sequence[str]]
    colors: Sequence[str]


def _market(shelves: Shelves) -> _Market:
    brands: dict[str, set[str]] = defaultdict(set)
    for product in shelves.products:
        brands[product.kind.department].add(product.brand)
    return _Market(
        by_noun=shelves.by_noun,
        kinds=[of_kind[0].kind for _, of_kind in sorted(shelves.by_noun.items())],
        brands={department: sorted(names) for department, names in sorted(brands.items())},
        colors=sorted({product.color for product in shelves.products} - {""}),
    )


class _Customer:
    """One person's taste, and what they have already bought."""

    def __init__(self, market: _Market, random_source: random.Random) -> None:
        self._market = market
        self._random = random_source
        self._departments = random_source.sample(list(market.brands), min(2, len(market.brands)))
        self._colors = set(random_source.sample(market.colors, min(3, len(market.colors))))
        self._brands = {random_source.choice(names) for names in market.brands.values()}
        self._refills: dict[str, SampleProduct] = {}
        self._planned: list[str] = []

    def basket(self) -> list[SampleProduct]:
        """Return what is bought today: refills, what was planned last time, something new and what goes with it."""
        bought = {p.product_id: p for p in self._refills.values() if self._random.random() < _AGAIN}
        for noun in self._planned:
            self._add(noun, bought)
        self._planned = []
        favorites = [kind for kind in self._market.kinds if kind.department in self._departments]
        pool = favorites if self._random.random() < 0.8 else self._market.kinds
        anchor = self._random.choice(pool)
        self._add(anchor.noun, bought)
        for noun in anchor.goes_with:
            if self._random.random() < _TOGETHER:
                self._add(noun, bought)
            elif self._random.random() < _LATER:
                self._planned.append(noun)
        return list(bought.values())

    def _add(self, noun: str, bought: dict[str, SampleProduct]) -> None:
        options = self._market.by_noun.get(noun)
        if not options:
            return
        product = self._random.choices(options, weights=[self._liking(option) for option in options])[0]
        bought[product.product_id] = product
        if product.kind.used_up:
            self._refills[product.product_id] = product

    def _liking(self, product: SampleProduct) -> float:
        return (6.0 if product.brand in self._brands else 1.0) * (3.0 if product.color in self._colors else 1.0)


def make_purchases(shelves: Shelves, users: int, random_source: random.Random) -> list[dict[str, str | int]]:
    """Make the orders of `users` people over some one and a half years: rows of the table, oldest first."""
    market = _market(shelves)
    lines: list[dict[str, str | int]] = []
    for number in range(users):
        customer = _Customer(market, random_source)
        moment = _OPENING_DAY_S + random_source.randrange(300 * _DAY_S)
        for order in range(2 + min(int(random_source.expovariate(0.25)), 18)):
            for product in customer.basket():
                quantity = random_source.choice((1, 1, 2, 3)) if product.kind.used_up else 1
                lines.append(
                    {
                        "user_id": f"U{number + 1:04d}",
                        "product_id": product.product_id,
                        "timestamp": moment,
                        "basket_id": f"U{number + 1:04d}-{order + 1:02d}",
                        "quantity": quantity,
                    }
                )
            moment += random_source.randrange(3 * _DAY_S, 40 * _DAY_S)
    return sorted(lines, key=lambda line: line["timestamp"])
