"""The training loop: deterministic batches by step number, a warm-up and cosine schedule, checkpoints, resume."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from train.backend import keras, tf
from train.checkpoints import TrainingCheckpoint
from train.errors import DivergedError
from train.stages import Progress


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


def fit(
    model: Any,
    loss: Callable[..., Any],
    batches: Batches,
    settings: FitSettings,
    *,
    checkpoint_folder: Path,
    progress: Progress | None = None,
    after_step: Callable[[int], None] | None = None,
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

    Raises:
        DivergedError: the loss became NaN or infinite.
        StorageError: a checkpoint could not be written.
    """
    optimizer = keras.optimizers.Adam(0.0, clipnorm=1.0)
    optimizer.build(model.trainable_variables)
    checkpoint = TrainingCheckpoint(checkpoint_folder, model, optimizer)
    start = checkpoint.restore()
    step_function = _step_function(model, loss, optimizer, settings.weight_decay)
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


def _step_function(model: Any, loss: Callable[..., Any], optimizer: Any, weight_decay: float) -> Callable[..., Any]:
    kernels = [variable for variable in model.trainable_variables if "kernel" in variable.name]

    @tf.function
    def step(*batch: Any) -> Any:
        with tf.GradientTape() as tape:
            value = loss(*batch)
        optimizer.apply_gradients(
            zip(tape.gradient(value, model.trainable_variables), model.trainable_variables, strict=True)
        )
        for kernel in kernels if weight_decay else ():
            kernel.assign_sub(kernel * (weight_decay * optimizer.learning_rate))
        return value

    return step
