"""Synthetic points of a budget search."""

from dataclasses import replace

from pocketrec.pipeline.budget import Point

BASE_POINT = Point(
    architecture="bag",
    vocabulary=1_000,
    hidden=64,
    layers=0,
    pruning="none",
    variant="int8",
    steps=100,
    complete=True,
    bytes=100_000,
    compressed_bytes=60_000,
    latency_ms=0.02,
    rerank_ndcg10=0.6,
    retrieval_ndcg10=0.5,
    retention=0.90,
    retention_ci95=(0.85, 0.95),
)


def point(size, latency, retention, **changes):
    """Return a point of so many bytes and milliseconds with that retention, its interval around it."""
    ends = (retention - 0.05, retention + 0.05)
    return replace(BASE_POINT, bytes=size, latency_ms=latency, retention=retention, retention_ci95=ends, **changes)
