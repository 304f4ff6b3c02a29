"""Errors of training: a branch of `edge_runtime.contract.errors` that does not occur on a device."""

from edge_runtime.contract.errors import PocketrecError


class TrainingError(PocketrecError):
    """Reading a shop or training on it failed."""


class ShopError(TrainingError):
    """A table of the shop is malformed; the text names file, column and row."""


class EmptyDatasetError(TrainingError):
    """Nothing is left to train on."""


class DivergedError(TrainingError):
    """The loss became NaN or infinite."""
