"""`where={"brand": "Acme", "price": {"lt": 20}}` -> SQL with parameters."""

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.product_columns import PRODUCT_COLUMNS, ProductColumn

Where = Mapping[str, object]
"""Field -> a value, a list of values (any of them), for a number a range like {"gte": 5, "lt": 20}; all must hold."""

_FIELDS = {column.name: column for column in PRODUCT_COLUMNS if column.filters}
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


def compile_where(
    where: Where, *, attribute_names: Callable[[], Collection[str]], stored: Collection[str]
) -> SqlFilter:
    """Turn a filter into SQL; values only ever become parameters.

    Text compares without regard to ASCII case. A category also covers what lies below it: "Home" covers "Home > Light".

    Args:
        where: field -> value, list of values, or range.
        attribute_names: gives the attributes that the catalogue knows.
        stored: columns that the catalogue has; no product matches a value of another one.

    Raises:
        ConfigError: an unknown field, or a value of the wrong kind.
    """
    if not isinstance(where, Mapping):
        raise ConfigError(f'a filter is a mapping like {{"brand": "Acme"}}, found {where!r}')
    conditions: list[str] = []
    parameters: list[object] = []
    for field, value in where.items():
        part = _compile_field(field, value, attribute_names)
        if field in _FIELDS and _FIELDS[field].stored not in stored:
            part = SqlFilter("0", ())
        conditions.append(f"({part.condition})")
        parameters += part.parameters
    return SqlFilter(" AND ".join(conditions) or "1", tuple(parameters))


def _compile_field(field: str, value: object, attribute_names: Callable[[], Collection[str]]) -> SqlFilter:
    column = _FIELDS.get(field) if isinstance(field, str) else None
    if column is not None and column.type == "number":
        return _compile_number(column, value)
    if column is not None and column.type == "flag":
        return _compile_flag(column, value)
    if column is not None:
        values = _texts(field, value)
        if field == "category":
            return SqlFilter(_CATEGORY, (values,))
        collation = "" if field == "product_id" else " COLLATE NOCASE"
        return SqlFilter(f"{column.stored}{collation} IN (SELECT value FROM json_each(?))", (values,))  # noqa: S608 - our own columns
    if isinstance(field, str) and field.startswith(ATTRIBUTE_PREFIX):
        name = field.removeprefix(ATTRIBUTE_PREFIX)
        if name in attribute_names():
            return SqlFilter(_ATTRIBUTE_VALUE, (name, _texts(field, value)))
    known = sorted([*_FIELDS, *(f"{ATTRIBUTE_PREFIX}{name}" for name in attribute_names())])
    shown = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
    raise ConfigError(f"cannot filter by {field!r}; known fields are {shown}")


def _compile_number(column: ProductColumn, value: object) -> SqlFilter:
    if isinstance(value, Mapping):
        unknown = [key for key in value if key not in _COMPARISONS]
        if unknown or not value:
            raise ConfigError(f"a {column.name} range has {', '.join(_COMPARISONS)}, found {unknown or 'none of them'}")
        condition = " AND ".join(f"{column.stored} {_COMPARISONS[key]} ?" for key in value)
        return SqlFilter(condition, tuple(_number(column.name, bound) for bound in value.values()))
    numbers = [_number(column.name, one) for one in _as_list(value)]
    return SqlFilter(f"{column.stored} IN (SELECT value FROM json_each(?))", (json.dumps(numbers),))  # noqa: S608 - our own columns


def _compile_flag(column: ProductColumn, value: object) -> SqlFilter:
    if not isinstance(value, bool):
        raise ConfigError(f"the filter {column.name} is true or false, found {value!r}")
    return SqlFilter(f"{column.stored} = ?", (int(value),))


def _texts(field: str, value: object) -> str:
    """Return the texts as a JSON list: one parameter however many there are."""
    values = _as_list(value)
    for one in values:
        if not isinstance(one, str):
            raise ConfigError(f"the filter {field} takes a text or a list of texts, found {one!r}")
    return json.dumps(values)


def _number(field: str, value: Any) -> float:
    try:
        if not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value):
            return float(value)
    except OverflowError:
        pass
    raise ConfigError(f"the filter {field} compares with a finite number, found {value!r}")


def _as_list(value: object) -> list[object]:
    return list(value) if isinstance(value, Sequence | set | frozenset) and not isinstance(value, str) else [value]
