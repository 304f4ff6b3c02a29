"""The root of the server's tables, apart from them, so that tables of several subjects need not import one another."""

from sqlalchemy.orm import DeclarativeBase


class Base(DeclarativeBase):
    """All tables of the server."""
