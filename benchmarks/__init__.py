"""Benchmarks beside published peers on public data; run a script as `python -m benchmarks.NAME`."""
