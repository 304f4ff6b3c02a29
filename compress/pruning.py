"""Pruning of dense kernels by magnitude, with tensorflow-model-optimization.

The sparsity rises by a polynomial (Zhu and Gupta, "To Prune, or Not to Prune", 2017). Zeros make the
compressed file smaller; they do not make LiteRT's kernels on a CPU faster.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow_model_optimization as tfmot

from train.backend import keras
from train.models.layers import LAYERS

SPARSITY_EVERY_STEPS = 10
"""How often the masks follow the schedule: a coarser grid would leave short stages without their last rise."""

RISING_SHARE = 0.6
"""Share of the steps in which the sparsity rises; the rest lets the other weights heal."""


@dataclass(frozen=True)
class PruneSettings:
    """What is pruned, and the stage's learning.

    Attributes:
        sparsity: share of zero weights at the end; 0, the default, leaves pruning out: zeros make nothing faster, and on
            ESCI they cost quality (docs/ablation.md).
        steps: of training.
        learning_rate: of Adam.
    """

    sparsity: float = 0.0
    steps: int = 400
    learning_rate: float = 5e-4

    def __post_init__(self) -> None:
        """Refuse what cannot be pruned."""
        if not 0.0 <= self.sparsity < 1.0:
            raise ValueError(f"sparsity is {self.sparsity}, expected a share from 0 to below 1")

    @property
    def prunes(self) -> bool:
        """Whether any weight goes to zero."""
        return self.sparsity > 0.0


def with_pruning(model: Any, settings: PruneSettings) -> tuple[Any, Callable[[int], None]]:
    """Wrap the dense kernels of `model` in pruning masks.

    Returns:
        The wrapped model with the weights of `model`, and a function that must be called after each training step.
    """
    # The schedule acts on multiples of its frequency only: an end between two of them would never be reached.
    end = max(1, int(settings.steps * RISING_SHARE) // SPARSITY_EVERY_STEPS) * SPARSITY_EVERY_STEPS
    schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, settings.sparsity, 0, end, frequency=SPARSITY_EVERY_STEPS)

    def wrap(layer: Any) -> Any:
        if not isinstance(layer, keras.layers.Dense):
            return layer
        return tfmot.sparsity.keras.prune_low_magnitude(layer, pruning_schedule=schedule)

    with keras.utils.custom_object_scope(LAYERS):
        wrapped = keras.models.clone_model(model, clone_function=wrap)
    for source, target in zip(model.layers, wrapped.layers, strict=True):
        if source.weights:
            getattr(target, "layer", target).set_weights(source.get_weights())
    callback = tfmot.sparsity.keras.UpdatePruningStep()
    callback.set_model(wrapped)
    callback.on_train_begin()
    callback.on_train_batch_begin(0)

    def after_step(step: int) -> None:
        callback.on_train_batch_begin(step)
        if step == settings.steps:
            callback.on_epoch_end(step)

    return wrapped, after_step


def strip(model: Any) -> Any:
    """Return the model without its pruning wrappers; the zeros stay."""
    return tfmot.sparsity.keras.strip_pruning(model)


def kernel_sparsity(model: Any) -> dict[str, float]:
    """Return the share of exact zeros in each dense kernel, by layer name."""
    return {
        layer.name: float(np.mean(layer.kernel.numpy() == 0.0))
        for layer in model.layers
        if isinstance(layer, keras.layers.Dense)
    }
