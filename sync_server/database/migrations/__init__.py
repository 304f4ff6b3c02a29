"""Alembic's scripts: how the database of an older server becomes that of a newer one."""
