"""Distillation: the student learns to put texts where the teacher put them, among the shop's items.

Loss of one text: 1 - cosine(student, teacher) + weight * KL(teacher's ranking of a sample of items || student's), the
ranking being the softmax of cosines over a temperature (embedding distillation as in Kim et al., "EmbedDistill", 2023).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from train.backend import tf
from train.fit import Batches

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class DistillationSet:
    """What one encoder learns from.

    Attributes:
        query_ids: int32 [queries, query_tokens].
        query_targets: float32 [queries, dim], unit rows: the teacher's vectors in the space of the items.
        item_ids: int32 [items, item_tokens].
        item_targets: float32 [items, dim], unit rows: the item vectors; also what rankings are compared over.
    """

    query_ids: npt.NDArray[np.int32]
    query_targets: Float32
    item_ids: npt.NDArray[np.int32]
    item_targets: Float32


@dataclass(frozen=True)
class DistillSettings:
    """One distillation stage. `item_share` of the steps learn item texts, the others queries."""

    steps: int = 2_000
    batch: int = 128
    learning_rate: float = 2e-3
    item_share: float = 0.1
    ranking_weight: float = 0.1
    ranking_items: int = 512
    temperature: float = 0.05


def distillation_batches(data: DistillationSet, settings: DistillSettings, *, seed: int) -> Batches:
    """Return batches of (ids, targets, sampled item vectors); a batch is all queries or all items."""

    def batches(step: int) -> tuple[Any, ...]:
        random = np.random.default_rng((seed, step))
        items = random.random() < settings.item_share
        ids, targets = (data.item_ids, data.item_targets) if items else (data.query_ids, data.query_targets)
        rows = random.integers(0, len(ids), settings.batch)
        sample = random.integers(0, len(data.item_targets), settings.ranking_items)
        return tf.constant(ids[rows]), tf.constant(targets[rows]), tf.constant(data.item_targets[sample])

    return batches


def distillation_loss(model: Any, settings: DistillSettings, *, training: bool = True) -> Callable[..., Any]:
    """Return the loss of a batch (ids, targets, items), see the module's docstring."""

    def loss(ids: Any, targets: Any, items: Any) -> Any:
        raw = model(ids, training=training)
        vectors = tf.nn.l2_normalize(raw, axis=-1)
        cosine = tf.reduce_sum(vectors * targets, axis=-1)
        log_student = tf.nn.log_softmax(tf.matmul(vectors, items, transpose_b=True) / settings.temperature)
        log_teacher = tf.nn.log_softmax(tf.matmul(targets, items, transpose_b=True) / settings.temperature)
        divergence = tf.reduce_sum(tf.exp(log_teacher) * (log_teacher - log_student), axis=-1)
        # Only directions count; a norm near 4 keeps the int8 output range used and stable.
        norm = tf.square(tf.norm(raw, axis=-1) - 4.0)
        return tf.reduce_mean(1.0 - cosine + settings.ranking_weight * divergence + 0.01 * norm)

    return loss
