"""Rows of `catalogue.sqlite`: reading, filtering, facets. Ranking is in `search`."""
