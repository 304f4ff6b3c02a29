"""SQLAlchemy tables, one file a subject."""
