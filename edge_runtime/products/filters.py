"""`where={"brand": "Acme", "price": {"lt": 20}}` -> SQL with parameters."""

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_runtime.contract.errors import ConfigError

Where = Mapping[str, object]
"""Field -> a value, a list of values (any of them), or for `price` a range like {"gte": 5, "lt": 20}; all must hold."""

TEXT_FIELDS = {"product_id": "product_id", "brand": "brand", "category": "category", "group": "product_group"}
_COMPARISONS = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
ATTRIBUTE_PREFIX = "attributes."
_ATTRIBUTE_VALUE = (
    "EXISTS (SELECT 1 FROM json_each(products.attributes) AS one WHERE one.key = ? "
    "AND one.value COLLATE NOCASE IN (SELECT value FROM json_each(?)))"
)
_CATEGORY = (
    "EXISTS (SELECT 1 FROM json_each(?) AS one WHERE category = one.value COLLATE NOCASE "
    "OR substr(category, 1, length(one.value) + 3) = one.value || ' > ' COLLATE NOCASE)"
)


@dataclass(frozen=True)
class SqlFilter:
    """A condition on table `products` and its parameters."""

    condition: str
    parameters: tuple[object, ...]


def compile_where(where: Where, *, attribute_names: Callable[[], Collection[str]]) -> SqlFilter:
    """Turn a filter into SQL; values only ever become parameters.

    Text compares without regard to ASCII case. A category also covers what lies below it: "Home" covers "Home > Light".

    Args:
        where: field -> value, list of values, or range.
        attribute_names: gives the attributes that the catalogue knows.

    Raises:
        ConfigError: an unknown field, or a value of the wrong kind.
    """
    if not isinstance(where, Mapping):
        raise ConfigError(f'a filter is a mapping like {{"brand": "Acme"}}, found {where!r}')
    conditions: list[str] = []
    parameters: list[object] = []
    for field, value in where.items():
        part = _compile_field(field, value, attribute_names)
        conditions.append(f"({part.condition})")
        parameters += part.parameters
    return SqlFilter(" AND ".join(conditions) or "1", tuple(parameters))


def _compile_field(field: str, value: object, attribute_names: Callable[[], Collection[str]]) -> SqlFilter:
    if field == "price":
        return _compile_price(value)
    if field in TEXT_FIELDS:
        values = _texts(field, value)
        if field == "category":
            return SqlFilter(_CATEGORY, (values,))
        collation = "" if field == "product_id" else " COLLATE NOCASE"
        return SqlFilter(f"{TEXT_FIELDS[field]}{collation} IN (SELECT value FROM json_each(?))", (values,))  # noqa: S608 - our own columns
    if isinstance(field, str) and field.startswith(ATTRIBUTE_PREFIX):
        name = field.removeprefix(ATTRIBUTE_PREFIX)
        if name in attribute_names():
            return SqlFilter(_ATTRIBUTE_VALUE, (name, _texts(field, value)))
    known = sorted([*TEXT_FIELDS, "price", *(f"{ATTRIBUTE_PREFIX}{name}" for name in attribute_names())])
    shown = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
    raise ConfigError(f"cannot filter by {field!r}; known fields are {shown}")


def _compile_price(value: object) -> SqlFilter:
    if isinstance(value, Mapping):
        unknown = [key for key in value if key not in _COMPARISONS]
        if unknown or not value:
            raise ConfigError(f"a price range has {', '.join(_COMPARISONS)}, found {unknown or 'none of them'}")
        condition = " AND ".join(f"price {_COMPARISONS[key]} ?" for key in value)
        return SqlFilter(condition, tuple(_number(bound) for bound in value.values()))
    numbers = [_number(one) for one in _as_list(value)]
    return SqlFilter("price IN (SELECT value FROM json_each(?))", (json.dumps(numbers),))


def _texts(field: str, value: object) -> str:
    """Return the texts as a JSON list: one parameter however many there are."""
    values = _as_list(value)
    for one in values:
        if not isinstance(one, str):
            raise ConfigError(f"the filter {field} takes a text or a list of texts, found {one!r}")
    return json.dumps(values)


def _number(value: Any) -> float:
    try:
        if not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value):
            return float(value)
    except OverflowError:
        pass
    raise ConfigError(f"the filter price compares with a finite number, found {value!r}")


def _as_list(value: object) -> list[object]:
    return list(value) if isinstance(value, Sequence | set | frozenset) and not isinstance(value, str) else [value]
