"""Faults and attacks against real processes: what each of them costs (docs/benchmarks.md)."""
