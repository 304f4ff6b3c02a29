"""The next basket: what a user bought -> a query among the items, and what each bought product's return is worth.

Examples are pairs of a history and the basket after it (train/sampling/next_basket_batches.py), the head is that of
train/models/history.py, the loss `next_basket_loss` (train/losses/next_item.py), the metric nDCG@10 and recall of the
held-out baskets (train/evaluation/next_basket.py).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.contract.bundle import EncoderSpec
from edge_runtime.contract.types import Float32, Progress
from train.backend import keras
from train.data.tables import Shop
from train.evaluation.next_basket import NextBasketQuality, next_basket_quality, rule_qualities
from train.loop import FitSettings, fit
from train.losses.next_item import next_basket_loss
from train.models.demand_features import SIGNALS, Demand, least_used_directions
from train.models.history import HistorySettings, NextBasket, build_history_head
from train.sampling.next_basket_batches import (
    NO_ITEM,
    HistoryData,
    NextBasketBatches,
    history_data,
    history_inputs,
    history_slots,
)
from train.tasks.declaration import Signature, Task, register

REPEAT_START = 1.0
REPEAT_HALVES = 2.0
"""Where training starts the repeat score of the newest slot, and how often it is halved down to the oldest."""


def signatures(spec: EncoderSpec, dim: int) -> tuple[Signature, ...]:
    """Return the head over the newest `history_items` purchases."""
    length = spec.history_items
    inputs = {"items": ((1, length, dim), "float32"), "mask": ((1, length), "float32")}
    return (Signature("encode_history", inputs, ("vector", "repeat")),)


NEXT_BASKET = register(Task("next-basket", "history", signatures))


@dataclass(frozen=True)
class HistoryReport:
    """What training gave.

    Attributes:
        trained: False when the shop has no two baskets to learn from: the head is then a mean that favors recent items.
        pairs: how many (history, next basket) pairs trained.
        loss: cross-entropy of the next basket, mean of the last tenth of the steps; None when untrained.
        mean_cosine: of text vector and corrected vector, over the products that were bought.
        validation: the head in float beside popularity and "buy again", on users whose last basket was held out.
    """

    trained: bool
    pairs: int
    loss: float | None
    mean_cosine: float
    validation: tuple[NextBasketQuality, ...]


@dataclass(frozen=True)
class HistoryHeadResult:
    """What training gave.

    Attributes:
        model: the head, see `build_history_head`.
        item_vectors: float32 [N, dim], unit rows, the demand of the last purchases in them.
        settled_vectors: float32 [N, dim], the same before demand is added, of any length; `NextBasket` takes them.
        report: for people.
    """

    model: Any
    item_vectors: Float32
    settled_vectors: Float32
    report: HistoryReport


def training_data(shop: Shop, settings: HistorySettings, *, seed: int) -> HistoryData:
    """Return what the head of `shop` learns from; equal arguments hold out the same baskets."""
    return history_data(shop.baskets, products=len(shop.products), held_out_share=settings.held_out_share, seed=seed)


def demand_axes(text_vectors: Float32, settings: HistorySettings) -> Float32:
    """Return float32 [SIGNALS, dim]: what one unit of each signal of demand adds to an item vector."""
    return least_used_directions(text_vectors, SIGNALS) * np.float32(settings.demand)


def measured_demand(data: HistoryData, settings: HistorySettings) -> Demand | None:
    """Return the demand that `data` shows, or None when the settings leave it out."""
    if settings.demand == 0:
        return None
    return Demand(data.sales, products=len(data.popularity), half_life_days=settings.demand_half_life_days)


def training_batches(
    data: HistoryData, settings: HistorySettings, *, seed: int, demand: Demand | None = None
) -> NextBasketBatches:
    """Return the batches on which the head of `data` is trained, in float and again when it is quantized."""
    return NextBasketBatches(
        data,
        length=settings.items,
        batch=settings.batch,
        split_share=settings.split_share,
        max_candidates=settings.max_candidates,
        seed=seed,
        demand=demand,
    )


def train_history_head(
    shop: Shop,
    item_vectors: Float32,
    settings: HistorySettings,
    *,
    seed: int,
    checkpoint_folder: Path,
    progress: Progress | None = None,
) -> HistoryHeadResult:
    """Train a history head, and the correction of the item vectors, on the shop's baskets.

    Args:
        shop: its `baskets` are used; without two baskets of one user or one larger basket nothing is trained.
        item_vectors: float32 [products, dim], unit rows, in the order of `shop.products`.
        settings: see `HistorySettings`.
        seed: of the held-out users, the weights and the batches.
        checkpoint_folder: a later call with the same folder goes on from there.
        progress: called with (done, total) after each step.

    Raises:
        DivergedError: the loss became NaN or infinite.
        StorageError: a checkpoint could not be written.
        TrainingError: the checkpoint is damaged or of another model.
    """
    keras.utils.set_random_seed(seed)
    head = build_history_head(settings, dim=item_vectors.shape[1])
    data = training_data(shop, settings, seed=seed)
    if settings.steps == 0 or not (data.pairs or data.baskets):
        untrained = HistoryReport(False, len(data.pairs), None, 1.0, validate(head, item_vectors, data))
        return HistoryHeadResult(head, item_vectors, item_vectors, untrained)
    bought = data.popularity > 0
    ages = np.linspace(REPEAT_HALVES, 0.0, settings.items)
    head.get_layer("history_repeat_recency").set_weights([(REPEAT_START * 0.5**ages).astype(np.float32)])
    demand = measured_demand(data, settings)
    model = NextBasket(head, item_vectors, learnable=bought, axes=demand_axes(item_vectors, settings))
    loss = fit(
        model,
        next_basket_loss(
            model,
            correction_penalty=settings.correction_penalty,
            repurchase_weight=settings.repurchase_weight,
            new_item_bonus=settings.new_item_bonus,
        ),
        training_batches(data, settings, seed=seed, demand=demand),
        FitSettings(steps=settings.steps, learning_rate=settings.learning_rate),
        checkpoint_folder=checkpoint_folder,
        progress=progress,
    )
    latest = np.zeros((len(item_vectors), SIGNALS), np.float32) if demand is None else demand.latest
    corrected = model.vectors(latest).numpy()
    cosine = float(np.mean(np.sum(corrected[bought] * item_vectors[bought], axis=1)))
    report = HistoryReport(True, len(data.pairs), loss, cosine, validate(head, corrected, data))
    settled: Float32 = np.asarray(model.settled())
    return HistoryHeadResult(head, corrected, settled, report)


def history_scores(head: Any, vectors: Float32, histories: Any, *, length: int, batch: int = 256) -> Float32:
    """Return float32 [histories, products]: what `head` gives every product for each history of rows."""
    parts = []
    for start in range(0, len(histories), batch):
        slots = history_slots(histories[start : start + batch], length)
        query, repeat = head(list(history_inputs(slots, vectors)), training=False)
        scores = query.numpy() @ vectors.T
        users, places = np.nonzero(slots != NO_ITEM)
        np.add.at(scores, (users, slots[users, places]), repeat.numpy()[users, places])
        parts.append(scores)
    return np.concatenate(parts) if parts else np.zeros((0, len(vectors)), np.float32)


def validate(head: Any, vectors: Float32, data: HistoryData) -> tuple[NextBasketQuality, ...]:
    """Return the quality of `head`, popularity and "buy again" on the held-out users; empty without such users."""
    if not data.held_out:
        return ()
    histories = [pair.history for pair in data.held_out]
    scores = history_scores(head, vectors, histories, length=int(head.inputs[0].shape[1]))
    own = next_basket_quality("history head", scores, histories, [pair.basket for pair in data.held_out])
    return (own, *rule_qualities(data))
