"""Intervals and tests that stay valid however often one looks. Numbers in, numbers out."""
