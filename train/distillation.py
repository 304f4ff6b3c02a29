"""Distillation: the student learns to put texts where the teacher put them, among the shop's items.

Loss of one text: 1 - cosine(student, teacher) + weight * KL(teacher's ranking of a sample of items || student's), the
ranking being the softmax of cosines over a temperature (embedding distillation as in Kim et al., "EmbedDistill", 2023).

Two parts are off unless their weight is above 0: the student's pooled state, through a linear map that is learned and
thrown away, comes near the teacher's own (Jiao et al., "TinyBERT", 2020), and lists that a cross-encoder has scored
(train/losses/score_distillation.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.types import Float32
from train.backend import keras, tf
from train.loop import Batches
from train.losses.score_distillation import ScoreLoss, score_loss
from train.models.student import POOLED

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
        query_states: float32 [queries, teacher's width], unit rows: the teacher's pooled states; None unless asked for.
        item_states: float32 [items, teacher's width], unit rows.
        scored: lists for the student to rank as a cross-encoder did; None unless asked for.
    """

    query_ids: npt.NDArray[np.int32]
    query_targets: Float32
    item_ids: npt.NDArray[np.int32]
    item_targets: Float32
    query_states: Float32 | None = None
    item_states: Float32 | None = None
    scored: ScoredIds | None = None


@dataclass(frozen=True)
class DistillSettings:
    """One distillation stage. `item_share` of the steps learn item texts, the others queries.

    Attributes:
        vector_weight: of 1 - cosine.
        ranking_weight: of the ranking's divergence.
        hidden_weight: of the pooled state's 1 - cosine; only the float student learns by it.
        adversary: radius of the fast gradient method's move of the word table (train/loop.py); 0 leaves it out.
    """

    steps: int = 2_000
    batch: int = 128
    learning_rate: float = 2e-3
    item_share: float = 0.1
    ranking_weight: float = 0.1
    ranking_items: int = 512
    temperature: float = 0.05
    vector_weight: float = 1.0
    hidden_weight: float = 0.0
    adversary: float = 0.0

    def __post_init__(self) -> None:
        """Refuse weights below 0."""
        for name in ("ranking_weight", "vector_weight", "hidden_weight", "adversary"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0 or more")


def distillation_batches(
    data: DistillationSet, settings: DistillSettings, *, seed: int, hidden: bool = False
) -> Batches:
    """Return batches of (ids, targets, sampled item vectors, extras); a batch is all queries or all items.

    The extras, a dictionary of tensors, hold "states" when `hidden`, and "list_ids", "list_items" and "list_scores"
    when there are scored lists.
    """

    def batches(step: int) -> tuple[Any, ...]:
        random = np.random.default_rng((seed, step))
        items = random.random() < settings.item_share
        ids, targets = (data.item_ids, data.item_targets) if items else (data.query_ids, data.query_targets)
        rows = random.integers(0, len(ids), settings.batch)
        sample = random.integers(0, len(data.item_targets), settings.ranking_items)
        extras: dict[str, Any] = {}
        states = data.item_states if items else data.query_states
        if hidden and states is not None:
            extras["states"] = tf.constant(states[rows])
        if data.scored is not None:
            lists = random.integers(0, len(data.scored.ids), SCORED_LISTS)
            extras["list_ids"] = tf.constant(data.scored.ids[lists])
            extras["list_items"] = tf.constant(data.item_targets[data.scored.rows[lists]])
            extras["list_scores"] = tf.constant(data.scored.scores[lists])
        return tf.constant(ids[rows]), tf.constant(targets[rows]), tf.constant(data.item_targets[sample]), extras

    return batches


def with_hidden_map(student: Any, width: int) -> Any:
    """Return `student` with a second output, its pooled state mapped to `width`; both share the student's weights."""
    mapped = keras.layers.Dense(width, name="hidden_map")(student.get_layer(POOLED).output)
    return keras.Model(student.input, [student.output, mapped], name="student_with_hidden_map")


def distillation_loss(
    model: Any, settings: DistillSettings, *, training: bool = True, scores: ScoreLoss | None = None
) -> Callable[..., Any]:
    """Return the loss of a batch (ids, targets, items, extras), see the module's docstring.

    Args:
        model: the student; or, for batches with "states", what `with_hidden_map` made of it.
        settings: weights and temperature.
        training: how the model is called.
        scores: how scored lists count, when the batches hold such.
    """

    def student(ids: Any) -> tuple[Any, Any]:
        answer = model(ids, training=training)
        return (answer[0], answer[1]) if isinstance(answer, list | tuple) else (answer, None)

    def loss(ids: Any, targets: Any, items: Any, extras: Any) -> Any:
        raw, state = student(ids)
        vectors = tf.nn.l2_normalize(raw, axis=-1)
        cosine = tf.reduce_sum(vectors * targets, axis=-1)
        log_student = tf.nn.log_softmax(tf.matmul(vectors, items, transpose_b=True) / settings.temperature)
        log_teacher = tf.nn.log_softmax(tf.matmul(targets, items, transpose_b=True) / settings.temperature)
        divergence = tf.reduce_sum(tf.exp(log_teacher) * (log_teacher - log_student), axis=-1)
        # Only directions count; a norm near 4 keeps the int8 output range used and stable.
        norm = tf.square(tf.norm(raw, axis=-1) - 4.0)
        each = settings.vector_weight * (1.0 - cosine) + settings.ranking_weight * divergence + 0.01 * norm
        if "states" in extras:
            near = tf.reduce_sum(tf.nn.l2_normalize(state, axis=-1) * extras["states"], axis=-1)
            each += settings.hidden_weight * (1.0 - near)
        value = tf.reduce_mean(each)
        if scores is not None and "list_ids" in extras:
            asked = tf.nn.l2_normalize(student(extras["list_ids"])[0], axis=-1)
            own = tf.einsum("ld,lcd->lc", asked, extras["list_items"]) / settings.temperature
            value += scores.weight * score_loss(scores.kind, own, extras["list_scores"])
        return value

    return loss
