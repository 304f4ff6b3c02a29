"""Errors of compression: a branch of `edge_runtime.contract.errors` that does not occur on a device."""

from edge_runtime.contract.errors import PocketrecError


class CompressionError(PocketrecError):
    """A compression step failed."""


class UnsupportedLayerError(CompressionError):
    """A layer has no known way into int8."""


class QualityGateError(CompressionError):
    """The bundle misses a gate that was asked for."""

    exit_code = 3


class DemoError(CompressionError):
    """A step of the demo failed."""
