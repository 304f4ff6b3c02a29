"""Benchmarks against published peers on real data; each script is run as `python -m benchmarks.NAME`."""
