"""Distills the student: batches of texts with the teacher's vectors, and the length of the training.

The loss is in train/losses/distillation.py.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.types import Float32
from train.backend import tf
from train.loop import Batches
from train.losses import COSINE_TEMPERATURE

SCORED_LISTS = 32
"""So many scored lists go with a batch."""


@dataclass(frozen=True)
class ScoredIds:
    """Lists that a cross-encoder scored, as the student reads them.

    Attributes:
        ids: int32 [lists, query_tokens].
        rows: int64 [lists, candidates], rows of items.
        scores: float32 [lists, candidates].
    """

    ids: npt.NDArray[np.int32]
    rows: npt.NDArray[np.int64]
    scores: Float32


@dataclass(frozen=True)
class DistillationSet:
    """What one encoder learns from.

    Attributes:
        query_ids: int32 [queries, query_tokens].
        query_targets: float32 [queries, dim], unit rows: the teacher's vectors in the space of the items.
        item_ids: int32 [items, item_tokens].
        item_targets: float32 [items, dim], unit rows: the item vectors; also what rankings are compared over.
        scored: lists for the student to rank as a cross-encoder did; None unless asked for.
    """

    query_ids: npt.NDArray[np.int32]
    query_targets: Float32
    item_ids: npt.NDArray[np.int32]
    item_targets: Float32
    scored: ScoredIds | None = None


@dataclass(frozen=True)
class DistillSettings:
    """One distillation stage. `item_share` of the steps learn item texts, the others queries.

    Attributes:
        vector_weight: of 1 - cosine.
        ranking_weight: of the ranking's divergence.
        adversary: radius of the fast gradient method's move of the word table (train/loop.py); 0 leaves it out.
    """

    steps: int = 2_000
    batch: int = 128
    learning_rate: float = 2e-3
    item_share: float = 0.1
    ranking_weight: float = 0.1
    ranking_items: int = 512
    temperature: float = COSINE_TEMPERATURE
    vector_weight: float = 1.0
    adversary: float = 0.0

    def __post_init__(self) -> None:
        """Refuse weights below 0."""
        for name in (*(f"{term}_weight" for term in self.weights), "adversary"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0 or more")

    @property
    def weights(self) -> dict[str, float]:
        """Term of the loss -> its weight: what the settings named `<term>_weight` say."""
        named = [field.name for field in fields(self) if field.name.endswith("_weight")]
        return {name.removesuffix("_weight"): getattr(self, name) for name in named}


def distillation_batches(data: DistillationSet, settings: DistillSettings, *, seed: int) -> Batches:
    """Return batches of (ids, targets, sampled item vectors, extras); a batch is all queries or all items.

    The extras, a dictionary of tensors, hold "list_ids", "list_items" and "list_scores" when there are scored lists.
    """

    def batches(step: int) -> tuple[Any, ...]:
        random = np.random.default_rng((seed, step))
        items = random.random() < settings.item_share
        ids, targets = (data.item_ids, data.item_targets) if items else (data.query_ids, data.query_targets)
        rows = random.integers(0, len(ids), settings.batch)
        sample = random.integers(0, len(data.item_targets), settings.ranking_items)
        extras: dict[str, Any] = {}
        if data.scored is not None:
            lists = random.integers(0, len(data.scored.ids), SCORED_LISTS)
            extras["list_ids"] = tf.constant(data.scored.ids[lists])
            extras["list_items"] = tf.constant(data.item_targets[data.scored.rows[lists]])
            extras["list_scores"] = tf.constant(data.scored.scores[lists])
        return tf.constant(ids[rows]), tf.constant(targets[rows]), tf.constant(data.item_targets[sample]), extras

    return batches
