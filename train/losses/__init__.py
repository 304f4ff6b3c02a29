"""Losses that more than one training uses."""
