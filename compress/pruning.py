"""Pruning of dense kernels with tensorflow-model-optimization: by magnitude, or two of every four.

2:4 zeroes the two smaller ones of every four weights that follow each other along a kernel's inputs, the order in which
a .tflite stores them. It is what sparse matrix units take (Mishra et al., "Accelerating Sparse Deep Neural Networks",
2021); the kernels of LiteRT on a CPU do not get faster by it, nor by any other zeros.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import tensorflow_model_optimization as tfmot

from train.backend import keras
from train.models.layers import LAYERS

SPARSITY_EVERY_STEPS = 10


Pattern = Literal["magnitude", "2:4"]


@dataclass(frozen=True)
class PruneSettings:
    """What is pruned, and the stage's learning.

    Attributes:
        sparsity: share of zero weights at the end; 0, the default, leaves pruning out: zeros make nothing faster, and on
            ESCI they cost quality (docs/ablation.md).
        pattern: "magnitude", the smallest weights of each kernel; or "2:4", which is half whatever `sparsity` says.
        steps: of training.
        learning_rate: of Adam.
    """

    sparsity: float = 0.0
    pattern: Pattern = "magnitude"
    steps: int = 400
    learning_rate: float = 5e-4

    def __post_init__(self) -> None:
        """Refuse what cannot be pruned."""
        if not 0.0 <= self.sparsity < 1.0:
            raise ValueError(f"sparsity is {self.sparsity}, expected a share from 0 to below 1")
        if self.pattern not in get_args(Pattern):
            raise ValueError(f"pattern is {self.pattern!r}, expected one of {', '.join(get_args(Pattern))}")

    @property
    def prunes(self) -> bool:
        """Whether any weight goes to zero."""
        return self.sparsity > 0.0 or self.pattern == "2:4"


def with_pruning(model: Any, settings: PruneSettings) -> tuple[Any, Callable[[int], None]]:
    """Wrap the dense kernels of `model` in pruning masks.

    By magnitude, the sparsity rises by a polynomial (Zhu and Gupta, "To Prune, or Not to Prune", 2017) over the first
    60% of the steps, so that the rest can heal. 2:4 is chosen once, at the second step, and heals over all the others.

    Returns:
        The wrapped model with the weights of `model`, and a function that must be called after each training step.
    """
    wrap_dense = _by_magnitude(settings) if settings.pattern == "magnitude" else _two_of_four

    def wrap(layer: Any) -> Any:
        return wrap_dense(layer) if isinstance(layer, keras.layers.Dense) else layer

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


def _by_magnitude(settings: PruneSettings) -> Callable[[Any], Any]:
    # The schedule acts on multiples of its frequency only: an end between two of them would never be reached.
    end = max(1, int(settings.steps * 0.6) // SPARSITY_EVERY_STEPS) * SPARSITY_EVERY_STEPS
    schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, settings.sparsity, 0, end, frequency=SPARSITY_EVERY_STEPS)
    return lambda layer: tfmot.sparsity.keras.prune_low_magnitude(layer, pruning_schedule=schedule)


def _two_of_four(layer: Any) -> Any:
    schedule = tfmot.sparsity.keras.ConstantSparsity(0.5, begin_step=0, frequency=1)
    return tfmot.sparsity.keras.prune_low_magnitude(layer, pruning_schedule=schedule, sparsity_m_by_n=(2, 4))


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


def keeps_two_of_four(kernel: npt.NDArray[np.floating]) -> bool:
    """Return whether every four weights in a row along the inputs of `kernel` [inputs, outputs] hold two zeros or more.

    The inputs beyond the last whole four are left out.
    """
    whole = kernel[: len(kernel) // 4 * 4]
    return bool(((whole.reshape(-1, 4, kernel.shape[1]) == 0).sum(axis=1) >= 2).all())
