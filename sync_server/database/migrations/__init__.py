"""Alembic's scripts, which update the database of an older server."""
