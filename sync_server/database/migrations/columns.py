"""Columns as the migrations write them: `columns(name=STRING, at_s=DOUBLE)`, in the order of the table.

Migrations that have run must not change, so the meaning of a kind never changes. A new need gets a new kind.
"""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

Kind = Callable[[str], sa.Column[Any]]

# SQLite numbers rows automatically only in a column of type INTEGER, which holds 64 bits in SQLite.
BIG_INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _kind(of: sa.types.TypeEngine[Any], **options: Any) -> Kind:
    return lambda name: sa.Column(name, of, **options)


KEY = _kind(sa.String(), primary_key=True)
DOUBLE_KEY = _kind(sa.Double(), primary_key=True)
ROW_NUMBER = _kind(BIG_INTEGER, primary_key=True)
GIVEN_NUMBER = _kind(sa.Integer(), primary_key=True, autoincrement=False)
GIVEN_BIG_NUMBER = _kind(BIG_INTEGER, primary_key=True, autoincrement=False)
UNIQUE = _kind(sa.String(), nullable=False, unique=True)
STRING, STRING_OR_NULL = _kind(sa.String(), nullable=False), _kind(sa.String())
TEXT, TEXT_OR_NULL = _kind(sa.Text(), nullable=False), _kind(sa.Text())
INTEGER, INTEGER_OR_NULL = _kind(sa.Integer(), nullable=False), _kind(sa.Integer())
DOUBLE, DOUBLE_OR_NULL = _kind(sa.Double(), nullable=False), _kind(sa.Double())
BIG = _kind(BIG_INTEGER, nullable=False)
BYTES = _kind(sa.LargeBinary(), nullable=False)


def references(column: str, *, or_null: bool = False) -> Kind:
    """Return the kind of a string that names a row of another table, like `references("devices.device_id")`."""
    return lambda name: sa.Column(name, sa.String(), sa.ForeignKey(column), nullable=or_null)


def columns(**kinds: Kind) -> list[sa.Column[Any]]:
    """Return new columns of these names and kinds."""
    return [kind(name) for name, kind in kinds.items()]
