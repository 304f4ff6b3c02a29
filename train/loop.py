"""The training loop: deterministic batches by step number, a warm-up and cosine schedule, checkpoints, resume.

With `Adversary` every step also trains on a word table that is perturbed along the gradient of the loss (the fast
gradient method of Miyato, Dai and Goodfellow, "Adversarial Training Methods for Semi-Supervised Text Classification",
2017).
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edge_runtime.contract.types import Progress
from train.backend import keras, tf
from train.checkpoints import TrainingCheckpoint
from train.errors import DivergedError


class Batches(Protocol):
    """Gives the same tensors for the same step, so that a resumed run goes on as if it had never stopped."""

    def __call__(self, step: int) -> tuple[Any, ...]:
        """Return the tensors of batch number `step`."""
        ...


@dataclass(frozen=True)
class FitSettings:
    """How long and how fast one training stage learns."""

    steps: int
    learning_rate: float
    warm_up: float = 0.05
    weight_decay: float = 0.0
    checkpoint_every_s: float = 30.0


@dataclass(frozen=True)
class Adversary:
    """Which table is moved, and how far.

    Attributes:
        table: variable of the word vectors; it need not be trained itself.
        radius: Euclidean length of the move, over the whole table.
    """

    table: Any
    radius: float


def fit(
    model: Any,
    loss: Callable[..., Any],
    batches: Batches,
    settings: FitSettings,
    *,
    checkpoint_folder: Path,
    progress: Progress | None = None,
    after_step: Callable[[int], None] | None = None,
    adversary: Adversary | None = None,
) -> float:
    """Train `model` in place; return the mean loss of the last tenth of the steps, of those that this call made.

    When the checkpoint has all steps already, it is the loss of the last batch.

    Args:
        model: a Keras model.
        loss: takes one batch's tensors, calls the model, returns a scalar.
        batches: see `Batches`.
        settings: steps, learning rate, checkpoints.
        checkpoint_folder: holds model, optimizer and step; a later call with the same folder goes on from there.
        progress: called after each step.
        after_step: called with the number of finished steps, before the next one (pruning schedules).
        adversary: see the module's docstring; each step then costs about twice as much.

    Raises:
        DivergedError: the loss became NaN or infinite.
        StorageError: a checkpoint could not be written.
    """
    optimizer = keras.optimizers.Adam(0.0, clipnorm=1.0)
    optimizer.build(model.trainable_variables)
    checkpoint = TrainingCheckpoint(checkpoint_folder, model, optimizer)
    start = checkpoint.restore()
    step_function = _step_function(model, loss, optimizer, settings.weight_decay, adversary)
    losses: list[float] = []
    saved_at = time.monotonic()
    for step in range(start, settings.steps):
        optimizer.learning_rate.assign(_learning_rate(step, settings))
        value = float(step_function(*batches(step)))
        if not math.isfinite(value):
            raise DivergedError(f"the loss became {value} at step {step}; lower learning_rate and build again")
        losses.append(value)
        if after_step is not None:
            after_step(step + 1)
        if progress is not None:
            progress(step + 1, settings.steps)
        if time.monotonic() - saved_at > settings.checkpoint_every_s:
            checkpoint.save(step + 1)
            saved_at = time.monotonic()
    checkpoint.save(settings.steps)
    if not losses:
        losses.append(float(loss(*batches(max(0, settings.steps - 1)))))
        # A forward pass in training mode moves the ranges of a quantized model.
        checkpoint.restore()
    return float(np.mean(losses[-max(1, settings.steps // 10) :]))


def _learning_rate(step: int, settings: FitSettings) -> float:
    warm_up = max(1, round(settings.steps * settings.warm_up))
    if step < warm_up:
        return settings.learning_rate * (step + 1) / warm_up
    done = (step - warm_up) / max(1, settings.steps - warm_up)
    return settings.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


def _step_function(
    model: Any, loss: Callable[..., Any], optimizer: Any, weight_decay: float, adversary: Adversary | None
) -> Callable[..., Any]:
    kernels = [variable for variable in model.trainable_variables if "kernel" in variable.name]

    @tf.function
    def step(*batch: Any) -> Any:
        value, gradients = learning_gradients(loss, batch, model.trainable_variables, adversary)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        for kernel in kernels if weight_decay else ():
            kernel.assign_sub(kernel * (weight_decay * optimizer.learning_rate))
        return value

    return step


def learning_gradients(
    loss: Callable[..., Any], batch: tuple[Any, ...], variables: list[Any], adversary: Adversary | None
) -> tuple[Any, list[Any]]:
    """Return the loss of a batch and its gradients; with `adversary`, those of the moved table are added.

    The table is afterwards what it was, to the bit.
    """
    with tf.GradientTape() as tape:
        if adversary is not None:
            tape.watch(adversary.table)
        value = loss(*batch)
    if adversary is None:
        return value, tape.gradient(value, variables)
    gradients, slope = tape.gradient(value, (variables, adversary.table))
    slope = tf.convert_to_tensor(slope)
    table = tf.identity(adversary.table)
    adversary.table.assign(table + adversary.radius * slope / tf.maximum(tf.norm(slope), 1e-12))
    with tf.GradientTape() as tape:
        worse = loss(*batch)
    moved = tape.gradient(worse, variables)
    adversary.table.assign(table)
    return value, [tf.convert_to_tensor(one) + other for one, other in zip(gradients, moved, strict=True)]
