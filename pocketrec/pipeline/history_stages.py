"""The history head's stages of a build: train it in float, then quantize it."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from compress.quantization import calibrate, quantize
from edge_runtime.contract.types import Float32, Progress
from pocketrec.pipeline.settings import BuildSettings
from train.checkpoints import has_checkpoint
from train.data.tables import Shop
from train.evaluation.next_basket import NextBasketQuality
from train.loop import FitSettings, fit
from train.losses.next_item import next_basket_loss
from train.models.history import (
    NextBasket,
    build_history_head,
    demand_axes,
    measured_demand,
    train_history_head,
    training_batches,
    training_data,
    validate,
)
from train.sampling.next_basket_batches import history_inputs

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


def _quality_line(validation: tuple[NextBasketQuality, ...]) -> str:
    return ", ".join(f"{row.name} nDCG@10 {row.ndcg10:.3f}" for row in validation) or "no basket held out"
