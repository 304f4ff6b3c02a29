"""SQLAlchemy tables, one file for each subject."""
