"""Bundles without a model for the tests of a fleet: the same that the benchmarks publish."""

from benchmarks.fleet.plain_bundle import write_plain_bundle as write_bundle

__all__ = ["write_bundle"]
