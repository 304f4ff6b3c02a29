"""The base class of the server's tables, in its own file so that the tables' files need not import one another."""

from sqlalchemy import BigInteger, Integer
from sqlalchemy.orm import DeclarativeBase

# SQLite numbers rows automatically only in a column of type INTEGER, which holds 64 bits in SQLite.
Big = BigInteger().with_variant(Integer(), "sqlite")


class Base(DeclarativeBase):
    """All tables of the server."""
