"""The base class of the tables, in a file of its own, so that the tables need not import one another."""

from sqlalchemy import BigInteger, Integer
from sqlalchemy.orm import DeclarativeBase

# SQLite numbers rows by themselves only in a column of type INTEGER, which holds 64 bits there.
Big = BigInteger().with_variant(Integer(), "sqlite")


class Base(DeclarativeBase):
    """All tables of the server."""
