"""Facets: how many of the matching products each brand, category, attribute or range of numbers has."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from edge_runtime.contract.types import Float64, Mask
from edge_runtime.products.columns import NUMBERS, ProductColumns

RANGES = 5
"""As many as a person takes in at a glance."""


@dataclass(frozen=True)
class FacetValue:
    """One value of a field: how it reads, how many products have it, and the filter that leaves these."""

    value: str
    products: int
    where: Mapping[str, object] = field(default_factory=dict)


def count_values(columns: ProductColumns, field: str, matching: Mask, limit: int) -> tuple[FacetValue, ...]:
    """Return the values of `field` among the matching products, most frequent first, ties by value.

    A category counts for itself and for every level above it, as the filter on categories does. Numbers come as ranges
    of about equal numbers of products, lowest first.

    Args:
        columns: of the catalogue.
        field: "brand", "category", "group", "price", "rating" or "attributes.NAME".
        matching: bool [products].
        limit: at most so many values.
    """
    if field in NUMBERS:
        return _ranges(field, columns.numbers(field)[matching])
    counts = columns.text(field).counted(matching, by_level=field == "category")
    best = sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:limit]
    return tuple(FacetValue(value, count, {field: value}) for value, count in best)


def _ranges(field: str, numbers: Float64) -> tuple[FacetValue, ...]:
    known = numbers[~np.isnan(numbers)]
    if not len(known):
        return ()
    shares = np.linspace(0, 1, RANGES + 1)[1:-1]
    edges = sorted({_round(float(edge)) for edge in np.quantile(known, shares)})
    bounds: list[tuple[float | None, float | None]] = list(zip([None, *edges], [*edges, None], strict=True))
    ranges = []
    for low, high in bounds:
        inside = (known >= (low if low is not None else -np.inf)) & (known < (high if high is not None else np.inf))
        where = {key: bound for key, bound in (("gte", low), ("lt", high)) if bound is not None}
        name = f"{low:g} … {high:g}" if low is not None and high is not None else ""
        name = name or (
            f"under {high:g}" if high is not None else f"from {low:g}" if low is not None else f"any {field}"
        )
        if inside.any():
            ranges.append(FacetValue(name, int(inside.sum()), {field: where} if where else {}))
    return tuple(ranges)


def _round(number: float) -> float:
    """Two digits that count, so that a range reads like one that a person chose."""
    return float(f"{number:.2g}")
