"""The stages of the heads over the item vectors in a build: train each in float, then quantize it."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from compress.quantization import calibrate, quantize
from edge_runtime.contract.types import Float32, Progress
from pocketrec.pipeline.graph import StageRunner
from pocketrec.pipeline.settings import BuildSettings
from pocketrec.pipeline.stages import StageResult
from train.checkpoints import has_checkpoint
from train.data.tables import Shop
from train.evaluation.next_basket import NextBasketQuality
from train.loop import FitSettings, fit
from train.losses.next_item import next_basket_loss
from train.models.history import NextBasket, build_history_head
from train.sampling.next_basket_batches import history_inputs
from train.tasks.declaration import TaskData, heads, train_head
from train.tasks.next_basket import (
    demand_axes,
    measured_demand,
    train_history_head,
    training_batches,
    training_data,
    validate,
)

WEIGHTS_FILE = "head.weights.h5"
_ITEMS_FILE = "item_vectors.npy"
_SETTLED_FILE = "settled_vectors.npy"


class HistoryStages:
    """Trains the history head of one build over the teacher's item vectors."""

    def __init__(self, settings: BuildSettings, shop: Shop, text_vectors: Float32) -> None:
        self._settings = settings
        self._shop = shop
        self._text_vectors = text_vectors

    def train(self, folder: Path, progress: Progress) -> tuple[str, dict[str, Any]]:
        """Train head and item vectors; leave both in `folder`."""
        result = train_history_head(
            self._shop,
            self._text_vectors,
            self._settings.history,
            seed=self._settings.seed,
            checkpoint_folder=folder,
            progress=progress,
        )
        result.model.save_weights(folder / WEIGHTS_FILE)
        np.save(folder / _ITEMS_FILE, result.item_vectors)
        np.save(folder / _SETTLED_FILE, result.settled_vectors)
        if not result.report.trained:
            return "no baskets to learn from: recent items count most", asdict(result.report)
        line = f"{result.report.pairs:,} histories, {_quality_line(result.report.validation)}"
        return line, asdict(result.report)

    def quantize(self, trained: Path, folder: Path, progress: Progress) -> tuple[str, dict[str, Any]]:
        """Quantization-aware training of the head in `trained`; the item vectors stay as they are."""
        settings = self._settings
        head = quantize(self._head(trained))
        vectors = self.item_vectors(trained)
        data = training_data(self._shop, settings.history, seed=settings.seed)
        if settings.history.steps == 0 or not (data.pairs or data.baskets):
            random = np.random.default_rng(settings.seed)
            length = settings.history.items
            calibrate(
                head, lambda _: history_inputs(random.integers(-1, len(vectors), (32, length), np.int32), vectors)
            )
        else:
            demand = measured_demand(data, settings.history)
            batches = training_batches(data, settings.history, seed=settings.seed, demand=demand)
            if not has_checkpoint(folder):
                calibrate(head, lambda step: history_inputs(batches(step)[0], vectors))
            axes = demand_axes(self._text_vectors, settings.history)
            model = NextBasket(head, np.load(trained / _SETTLED_FILE), axes=axes)
            fit(
                model,
                next_basket_loss(
                    model,
                    repurchase_weight=settings.history.repurchase_weight,
                    new_item_bonus=settings.history.new_item_bonus,
                ),
                batches,
                FitSettings(settings.quantize.steps, settings.quantize.learning_rate),
                checkpoint_folder=folder,
                progress=progress,
            )
        head.save_weights(folder / WEIGHTS_FILE)
        validation = validate(head, vectors, data)
        line = _quality_line(validation) if validation else "8-bit weights and activations"
        return line, {"validation": [asdict(quality) for quality in validation]}

    def item_vectors(self, trained: Path) -> Float32:
        """Return the catalogue's vectors float32 [products, dim], unit rows."""
        vectors: Float32 = np.load(trained / _ITEMS_FILE)
        return vectors

    def trained(self, folder: Path) -> Any:
        """Return the float head in `folder`."""
        return self._head(folder)

    def quantized(self, trained: Path, folder: Path) -> Any:
        """Return the quantized head in `folder`, which was made from the one in `trained`."""
        model = quantize(self._head(trained))
        model.load_weights(folder / WEIGHTS_FILE)
        return model

    def _head(self, folder: Path) -> Any:
        model = build_history_head(self._settings.history, dim=self._settings.dim)
        model.load_weights(folder / WEIGHTS_FILE)
        return model


def task_stage_names() -> list[str]:
    """Return the names of the stages that `TaskStages.run` runs."""
    return [f"{stage}@{name}" for name in heads() for stage in ("task", "task-int8")]


class TaskStages:
    """Trains and quantizes the head of every task that declares one (train/tasks) over the catalogue's vectors.

    The stages of a task are named "task@name" and "task-int8@name".
    """

    def __init__(self, settings: BuildSettings, shop: Shop, item_vectors: Float32) -> None:
        self._settings = settings
        self._data = TaskData(shop, item_vectors, settings.encoder_spec, settings.seed)

    def run(self, run: StageRunner, vectors: StageResult) -> None:
        """Run the stages of all tasks.

        Args:
            run: runs one stage and keeps its result.
            vectors: the stage that left the catalogue's vectors.
        """
        for name in heads():
            trained = run(f"task@{name}", partial(self.train, name), history=vectors)
            run(f"task-int8@{name}", partial(self.quantize, name, trained.folder), task=trained)

    def train(self, name: str, folder: Path, progress: Progress) -> tuple[str, dict[str, Any]]:
        """Train the head of the task `name` in float; leave it in `folder`."""
        model = train_head(heads()[name], self._data, checkpoint_folder=folder, progress=progress)
        return self._finish(name, model, folder)

    def quantize(self, name: str, trained: Path, folder: Path, progress: Progress) -> tuple[str, dict[str, Any]]:
        """Quantization-aware training of the head in `trained`; leave it in `folder`."""
        head, settings = heads()[name], self._settings.quantize
        model = quantize(self._trained(name, trained))
        batches = head.examples(self._data)
        if not has_checkpoint(folder):
            calibrate(model, lambda step: batches(step)[: len(model.inputs)])
        fit(
            model,
            head.loss(model),
            batches,
            FitSettings(settings.steps, settings.learning_rate),
            checkpoint_folder=folder,
            progress=progress,
        )
        return self._finish(name, model, folder)

    def trained(self, folders: Mapping[str, Path]) -> dict[str, Any]:
        """Return name of a task -> its float head, from the folders of the stages."""
        return {name: self._trained(name, folders[f"task@{name}"]) for name in heads()}

    def quantized(self, folders: Mapping[str, Path]) -> dict[str, Any]:
        """Return name of a task -> its quantized head, from the folders of the stages."""
        models = {name: quantize(model) for name, model in self.trained(folders).items()}
        for name, model in models.items():
            model.load_weights(folders[f"task-int8@{name}"] / WEIGHTS_FILE)
        return models

    def _trained(self, name: str, folder: Path) -> Any:
        model = heads()[name].build(self._data.spec, self._settings.dim)
        model.load_weights(folder / WEIGHTS_FILE)
        return model

    def _finish(self, name: str, model: Any, folder: Path) -> tuple[str, dict[str, Any]]:
        model.save_weights(folder / WEIGHTS_FILE)
        metric = dict(heads()[name].metric(model, self._data))
        return ", ".join(f"{figure} {value:.3f}" for figure, value in metric.items()), {"metric": metric}


def _quality_line(validation: tuple[NextBasketQuality, ...]) -> str:
    return ", ".join(f"{row.name} nDCG@10 {row.ndcg10:.3f}" for row in validation) or "no basket held out"
