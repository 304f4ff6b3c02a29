"""What a task declares, and where the declared ones are found."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import train.tasks
from edge_runtime.contract.bundle import EncoderSpec
from edge_runtime.contract.types import Float32, Progress
from train.backend import keras
from train.data.tables import Shop
from train.loop import Batches, FitSettings, fit


@dataclass(frozen=True)
class Signature:
    """One function of `encoder.tflite`.

    Attributes:
        name: by which the device calls it.
        inputs: name -> (shape with the batch of one, dtype), in the order in which the model takes them.
        outputs: names of the model's outputs, in their order.
    """

    name: str
    inputs: Mapping[str, tuple[tuple[int, ...], str]]
    outputs: tuple[str, ...] = ("vector",)


@dataclass(frozen=True)
class TaskData:
    """What the heads of a build learn from.

    Attributes:
        shop: without the held-out queries.
        item_vectors: float32 [products, dim], unit rows, as the device has them.
        spec: lengths of the signatures.
        seed: of every random choice.
    """

    shop: Shop
    item_vectors: Float32
    spec: EncoderSpec
    seed: int


@dataclass(frozen=True)
class Head:
    """A network of a task's own over the item vectors, and how it learns.

    Attributes:
        build: (spec, dim) -> Keras model named like the task, of layers that quantize whole (train/models/layers.py).
        examples: data -> batches that begin with the model's inputs.
        loss: model, plain or quantized -> loss of a batch.
        metric: (model, data) -> figures for the report.
        training: steps and learning rate.
    """

    build: Callable[[EncoderSpec, int], Any]
    examples: Callable[[TaskData], Batches]
    loss: Callable[[Any], Callable[..., Any]]
    metric: Callable[[Any, TaskData], Mapping[str, float]]
    training: FitSettings


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        name: of the task.
        model: name of the Keras model that answers it; weights inside the file are shown under that name.
        signatures: (spec, dim) -> its functions in `encoder.tflite`.
        head: None for the two tasks whose stages do more than train a head: the student is distilled and pruned, and
            with the next basket the item vectors are learned.
    """

    name: str
    model: str
    signatures: Callable[[EncoderSpec, int], tuple[Signature, ...]]
    head: Head | None = None


_TASKS: dict[str, Task] = {}


def register(task: Task) -> Task:
    """Make `task` known under its name, and return it."""
    _TASKS[task.name] = task
    return task


def tasks() -> dict[str, Task]:
    """Return all tasks by name, those of every file of this folder."""
    for module in pkgutil.iter_modules(train.tasks.__path__):
        importlib.import_module(f"{train.tasks.__name__}.{module.name}")
    return _TASKS


def heads() -> dict[str, Head]:
    """Return the heads of the tasks that have one, by the task's name."""
    return {name: task.head for name, task in tasks().items() if task.head is not None}


def train_head(head: Head, data: TaskData, *, checkpoint_folder: Path, progress: Progress | None = None) -> Any:
    """Return a trained model of `head`; a later call with the same folder goes on from there.

    Raises:
        DivergedError: the loss became NaN or infinite.
        StorageError: a checkpoint could not be written.
        TrainingError: the checkpoint is damaged or of another model.
    """
    keras.utils.set_random_seed(data.seed)
    model = head.build(data.spec, data.item_vectors.shape[1])
    fit(
        model,
        head.loss(model),
        head.examples(data),
        head.training,
        checkpoint_folder=checkpoint_folder,
        progress=progress,
    )
    return model
