"""Rows of `catalogue.sqlite`: reading, filtering, faceting. Ranking lies in `search`."""
