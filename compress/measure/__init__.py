"""Measures a finished bundle: ranking quality, latency, memory, time to open. Trains nothing."""
