"""The products of the sample shop."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from train.data.sample.words import Kind, Words

_OPENINGS = (
    "A {style} {noun} for every day",
    "Our {style} {noun}, made to last",
    "The {noun} that customers ask for again",
    "A {style} {noun} with a careful finish",
)
_CLOSINGS = (
    "Arrives ready to use.",
    "Easy to clean and easy to store.",
    "Thirty days to change your mind.",
    "A favorite of the {aisle} aisle.",
    "Pairs well with {partner}.",
)


@dataclass(frozen=True)
class SampleProduct:
    """One product of the sample shop; fields that its kind does not have are empty texts."""

    product_id: str
    title: str
    description: str
    kind: Kind
    brand: str
    color: str
    material: str
    size: str
    style: str
    feature: str
    price: float
    seller: str

    @property
    def attributes(self) -> dict[str, str]:
        """The attributes that the products table names."""
        named = {"color": self.color, "material": self.material, "size": self.size, "style": self.style}
        return {name: value for name, value in named.items() if value}


@dataclass(frozen=True)
class Shelves:
    """The products, also by the noun of their kind and by (department, aisle)."""

    products: Sequence[SampleProduct]
    by_noun: Mapping[str, Sequence[SampleProduct]]
    by_aisle: Mapping[tuple[str, str], Sequence[SampleProduct]]


def shelve(products: Sequence[SampleProduct]) -> Shelves:
    """Sort the products onto shelves."""
    by_noun: dict[str, list[SampleProduct]] = {}
    by_aisle: dict[tuple[str, str], list[SampleProduct]] = {}
    for product in products:
        by_noun.setdefault(product.kind.noun, []).append(product)
        by_aisle.setdefault((product.kind.department, product.kind.aisle), []).append(product)
    return Shelves(products=products, by_noun=by_noun, by_aisle=by_aisle)


def make_products(words: Words, count: int, random_source: random.Random) -> list[SampleProduct]:
    """Make `count` products, the kinds in equal shares, no two with the same title."""
    kinds = list(words.kinds)
    random_source.shuffle(kinds)
    titles: set[str] = set()
    products = []
    for number in range(count):
        product = _product(words, kinds[number % len(kinds)], number, random_source)
        for _ in range(20):
            if product.title not in titles:
                break
            product = _product(words, product.kind, number, random_source)
        if product.title in titles:
            product = _product(words, product.kind, number, random_source, suffix=f", model {number}")
        titles.add(product.title)
        products.append(product)
    return products


def _product(words: Words, kind: Kind, number: int, random_source: random.Random, *, suffix: str = "") -> SampleProduct:
    brand = random_source.choice(kind.brands)
    color, material, size, style = (
        random_source.choice(options) if options else ""
        for options in (kind.colors, kind.materials, kind.sizes, kind.styles)
    )
    feature = random_source.choice(kind.features) if kind.features and random_source.random() < 0.6 else ""
    series = random_source.choice(words.series)
    parts = {"color": color, "material": material, "size": size, "style": style, "feature": feature}
    title = f"{brand} {_title(kind, series, parts, random_source)}{suffix}"
    return SampleProduct(
        product_id=f"P{number + 1:05d}",
        title=title,
        description=_description(kind, parts, random_source),
        kind=kind,
        brand=brand,
        price=_price(kind, brand, random_source),
        seller=_seller(words.sellers, kind, random_source),
        **parts,
    )


def _title(kind: Kind, series: str, parts: dict[str, str], random_source: random.Random) -> str:
    style, material = _capitalized(parts["style"]), _capitalized(parts["material"])
    noun, color, size = _capitalized(kind.noun), _capitalized(parts["color"]), parts["size"]
    ending = f" with {_capitalized(parts['feature'])}" if parts["feature"] else ""
    layouts = (
        ([series, style, material, noun], [color, size]),
        ([series, material, noun], [style, color, size]),
        ([style, noun], [material, color, size]),
        ([series, color, noun], [size, material]),  # the style stands among the attributes only
    )
    head, tail = random_source.choice(layouts)
    return ", ".join([" ".join(filter(None, head)) + ending, *filter(None, tail)])


def _description(kind: Kind, parts: dict[str, str], random_source: random.Random) -> str:
    partner = random_source.choice(kind.goes_with) if kind.goes_with else "what you already have"
    names = {**parts, "noun": kind.noun, "aisle": kind.aisle.lower(), "partner": partner}
    details = [
        f"made of {parts['material']}" if parts["material"] else "",
        f"in {parts['color']}" if parts["color"] else "",
        f"with {parts['feature']}" if parts["feature"] else "",
    ]
    opening = ", ".join([random_source.choice(_OPENINGS).format(**names), *filter(None, details)])
    return f"{opening}. {random_source.choice(_CLOSINGS).format(**names)}"


def _price(kind: Kind, brand: str, random_source: random.Random) -> float:
    low, high = kind.price
    # Brands later in the list of a department are more expensive.
    position = kind.brands.index(brand) / max(1, len(kind.brands) - 1)
    share = 0.6 * position + 0.4 * random_source.random()
    whole = int(low * (high / low) ** share)
    return round(whole + random_source.choice((0.0, 0.49, 0.95, 0.99)), 2)


def _seller(sellers: Sequence[str], kind: Kind, random_source: random.Random) -> str:
    # Few large sellers, many small ones; where a seller's list begins depends on the department.
    start = sum(map(ord, kind.department)) % len(sellers)
    rank = min(int(random_source.paretovariate(1.1)) - 1, len(sellers) - 1)
    return sellers[(start + rank) % len(sellers)]


def _capitalized(text: str) -> str:
    return " ".join(word if word in {"with", "of", "and"} else word[:1].upper() + word[1:] for word in text.split(" "))
