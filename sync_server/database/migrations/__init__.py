"""Alembic's scripts: they migrate the database of an older server."""
