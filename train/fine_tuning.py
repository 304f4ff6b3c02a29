"""Fine-tunes the teacher on a shop as a bi-encoder: it moves a query's vector near those of its relevant products."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.types import Progress
from train.backend import tf
from train.data.tables import Shop
from train.errors import TrainingError
from train.loop import Adversary, Batches, FitSettings, fit
from train.losses import COSINE_TEMPERATURE
from train.losses.contrastive import contrastive_loss
from train.models.bert import INPUTS
from train.models.teacher import Teacher
from train.sampling.contrastive_batches import KINDS, BatchShape, ContrastiveBatches, Kind

PADDING = -1


@dataclass(frozen=True)
class TeacherSettings:
    """Fine-tuning of the teacher.

    `steps` None means `epochs` times through the shop, at most `max_steps`; 0 leaves the teacher as it is. The four
    kinds of evidence (train/sampling/contrastive_batches.py) can each be switched off. Embeddings and the lowest `frozen_layers` layers
    stay as they are unless told otherwise. `adversary` is the radius of the fast gradient method's move of the word table
    (train/loop.py); 0 leaves it out.
    """

    steps: int | None = None
    epochs: float = 2.0
    max_steps: int = 600
    learning_rate: float = 3e-5
    warm_up: float = 0.1
    weight_decay: float = 0.01
    temperature: float = COSINE_TEMPERATURE
    gain_temperature: float = 0.25
    lists: bool = True
    pairs: bool = True
    baskets: bool = True
    catalogue: bool = True
    freeze_embeddings: bool = True
    frozen_layers: int = 0
    items_per_step: int = 48
    list_size: int = 24
    negatives: int = 8
    query_tokens: int = 24
    item_tokens: int = 48
    checkpoint_every_s: float = 60.0
    adversary: float = 0.0

    def __post_init__(self) -> None:
        """Refuse numbers with which no step could be made."""
        least = {"query_tokens": 3, "item_tokens": 3, "items_per_step": 2, "list_size": 2, "negatives": 0}
        for name, limit in least.items():
            if getattr(self, name) < limit:
                raise ValueError(f"{name} is {getattr(self, name)}, expected {limit} or more")
        if not self.adversary >= 0:
            raise ValueError(f"adversary is {self.adversary}, expected 0 or more")
        for name in ("learning_rate", "temperature", "gain_temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected more than 0")


@dataclass(frozen=True)
class FineTuneResult:
    """What fine-tuning did.

    Attributes:
        steps: of training; 0 when the shop has no examples or training is off.
        loss: mean of the last tenth of the steps that this run made; None when there were none to make.
        lists: judged queries with products of differing gain.
        pairs: queries with a product of gain >= 0.5.
        baskets: baskets of two products or more.
        catalogue: texts made from products.
        summary: one line for people.
    """

    steps: int
    loss: float | None
    lists: int
    pairs: int
    baskets: int
    catalogue: int
    summary: str


def fine_tune(
    teacher: Teacher,
    shop: Shop,
    settings: TeacherSettings,
    *,
    checkpoint_folder: Path,
    seed: int = 0,
    progress: Progress | None = None,
) -> FineTuneResult:
    """Train `teacher` in place on the judgements and baskets of `shop`.

    Equal teacher, shop, settings and seed give equal weights, whether the run was stopped and called again or not: the
    folder holds model, optimizer and step.

    Args:
        teacher: see `Teacher.open`.
        shop: a shop without judgements and baskets is not an error: nothing is trained and the result says so.
        settings: see `TeacherSettings`.
        checkpoint_folder: a later call with the same folder goes on from there.
        seed: of the order of the examples and of the negatives.
        progress: called after each step with (done, total).

    Raises:
        DivergedError: the loss became NaN or infinite.
        StorageError: a checkpoint could not be written.
        TrainingError: a checkpoint is damaged or of another model.
    """
    supervision = ContrastiveBatches(shop, batch_shape(settings), kinds=_kinds(settings))
    counts = supervision.counts
    steps = steps_of(supervision, settings)
    if steps == 0:
        reason = "the shop holds nothing to learn from" if not any(counts.values()) else "0 steps"
        return FineTuneResult(0, None, **counts, summary=f"teacher unchanged: {reason}")
    if settings.freeze_embeddings:
        teacher.freeze_embeddings(layers=settings.frozen_layers)
    loss = fit(
        teacher.model,
        _loss(teacher.model, settings.temperature),
        _batches(teacher, shop, supervision, settings, steps=steps, seed=seed),
        FitSettings(
            steps=steps,
            learning_rate=settings.learning_rate,
            warm_up=settings.warm_up,
            weight_decay=settings.weight_decay,
            checkpoint_every_s=settings.checkpoint_every_s,
        ),
        checkpoint_folder=checkpoint_folder,
        progress=progress,
        adversary=_adversary(teacher, settings.adversary),
    )
    summary = (
        f"{steps} steps on {counts['lists']} judged lists, {counts['pairs']} pairs, {counts['baskets']} baskets, "
        f"{counts['catalogue']} texts of the catalogue"
    )
    return FineTuneResult(steps, loss, **counts, summary=summary)


def _adversary(teacher: Teacher, radius: float) -> Adversary | None:
    """Return what moves the word table.

    Raises:
        TrainingError: the encoder is a SavedModel, whose word table cannot be found.
    """
    if not radius:
        return None
    table = teacher.word_table
    if table is None:
        raise TrainingError("[teacher] adversary moves the word table, which a SavedModel does not name; set it to 0")
    return Adversary(table, radius)


def batch_shape(settings: TeacherSettings) -> BatchShape:
    """Return sizes of batches by which a step of each kind encodes about as many tokens as `items_per_step` items."""
    tokens = settings.items_per_step * settings.item_tokens
    return BatchShape(
        lists=max(1, settings.items_per_step // settings.list_size),
        list_size=settings.list_size,
        pairs=max(2, tokens // (settings.query_tokens + settings.item_tokens)),
        baskets=max(2, settings.items_per_step // 2),
        negatives=settings.negatives,
        gain_temperature=settings.gain_temperature,
    )


def steps_of(supervision: ContrastiveBatches, settings: TeacherSettings) -> int:
    """Return how many steps `fine_tune` makes."""
    per_epoch = sum(supervision.batches_per_epoch().values())
    if per_epoch == 0:
        return 0
    if settings.steps is not None:
        return max(0, settings.steps)
    return min(settings.max_steps, math.ceil(per_epoch * settings.epochs))


def _kinds(settings: TeacherSettings) -> list[Kind]:
    wanted = {
        "lists": settings.lists,
        "pairs": settings.pairs,
        "baskets": settings.baskets,
        "catalogue": settings.catalogue,
    }
    return [kind for kind in KINDS if wanted[kind]]


def _batches(
    teacher: Teacher, shop: Shop, supervision: ContrastiveBatches, settings: TeacherSettings, *, steps: int, seed: int
) -> Batches:
    """Return batches of (left ids, right ids, targets, hidden, weights, 1.0 when both directions count)."""
    queries = _id_table(
        teacher.token_rows(supervision.queries, max_tokens=settings.query_tokens), settings.query_tokens
    )
    item_texts = [product.text for product in shop.products]
    items = _id_table(teacher.token_rows(item_texts, max_tokens=settings.item_tokens), settings.item_tokens)
    plan = supervision.plan(steps, seed=seed)

    def batches(step: int) -> tuple[Any, ...]:
        kind, number = plan[step]
        batch = supervision.batch(kind, number, seed=seed)
        left = (items if kind == "baskets" else queries)[batch.queries]
        both_ways = 0.0 if kind == "lists" else 1.0
        arrays = (left, items[batch.rows], batch.targets, batch.hidden, batch.weights, np.float32(both_ways))
        return tuple(tf.constant(array) for array in arrays)

    return batches


def _id_table(rows: Sequence[Sequence[int]], length: int) -> npt.NDArray[np.int32]:
    table = np.full((len(rows), length), PADDING, np.int32)
    for row, tokens in enumerate(rows):
        table[row, : len(tokens)] = tokens
    return table


def _loss(model: Any, temperature: float) -> Callable[..., Any]:
    def vectors(ids: Any) -> Any:
        mask = tf.cast(ids != PADDING, tf.int32)
        return model(dict(zip(INPUTS, (ids * mask, mask, tf.zeros_like(ids)), strict=True)), training=False)

    def loss(left: Any, right: Any, targets: Any, hidden: Any, weights: Any, both_ways: Any) -> Any:
        return contrastive_loss(
            vectors(left), vectors(right), targets, hidden, weights, temperature=temperature, both_ways=both_ways
        )

    return loss
