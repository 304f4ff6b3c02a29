"""Ranking for thin clients: one interface over a bundle and over served encoders."""
