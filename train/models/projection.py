"""Reduces the teacher's vectors to the device's width: a linear projection trained on the judgements.

It starts as an SVD of the vectors, and is trained to separate relevant products from others. The encoder does not
change, so training on new judgements takes seconds and no text is encoded again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.types import Float32, Progress
from train.backend import keras, tf
from train.data.tables import Shop
from train.losses import COSINE_TEMPERATURE
from train.losses.contrastive import contrastive_loss
from train.losses.distillation import ScoreLoss, score_loss
from train.sampling.contrastive_batches import BatchShape, ContrastiveBatches, Kind, RelevanceBatch
from train.sampling.hard_negatives import ScoredLists

EVIDENCE: tuple[Kind, ...] = ("lists", "pairs")


HARD_NEGATIVES = 2
"""Mined negatives of each judged query in a batch."""

SCORED_LISTS = 64
"""Scored lists of a step."""


@dataclass(frozen=True)
class CrossEncoderLabels:
    """What a cross-encoder adds to the judgements (train/models/cross_encoder_training.py).

    Attributes:
        negatives: query -> rows of mined negatives that it does not take for positives.
        lists: candidate lists with its scores; None distils none.
        loss: how the lists count.
    """

    negatives: Mapping[str, npt.NDArray[np.int64]] = field(default_factory=dict)
    lists: ScoredLists | None = None
    loss: ScoreLoss = field(default_factory=ScoreLoss)


@dataclass(frozen=True)
class ProjectionSettings:
    """How the map is made.

    Attributes:
        steps: of learning from judged lists and pairs; 0 leaves the map as it starts.
        learning_rate: of Adam, falling to 0.
        whitening: 0 keeps cosines as the teacher has them; 1 makes all directions equally wide. A little takes away
            what most vectors have in common.
        temperature: of the cosines in the loss.
    """

    steps: int = 300
    learning_rate: float = 3e-4
    whitening: float = 0.2
    temperature: float = COSINE_TEMPERATURE

    def __post_init__(self) -> None:
        """Refuse what cannot be computed."""
        if self.steps < 0:
            raise ValueError(f"steps is {self.steps}, expected 0 or more")
        if not 0.0 <= self.whitening <= 1.0:
            raise ValueError(f"whitening is {self.whitening}, expected 0 to 1")
        for name in ("learning_rate", "temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected more than 0")


def start_projection(vectors: Float32, dim: int, *, whitening: float) -> Float32:
    """Return the matrix float32 [width, dim] of the leading right singular vectors of the uncentered `vectors`.

    Dot products, not variances, are what ranks, hence uncentered. With `whitening` w each direction is divided by its
    spread to the power w. Where there are fewer directions than `dim`, the last columns are zero.
    """
    _, spread, directions = np.linalg.svd(vectors, full_matrices=False)
    kept = min(dim, int((spread > spread[0] * 1e-6).sum()))
    scale = (spread[:kept] / spread[0]) ** -whitening
    matrix = np.zeros((vectors.shape[1], dim), dtype=np.float32)
    matrix[:, :kept] = directions[:kept].T * (scale / scale.mean())
    return matrix


def learn_projection(
    start: Float32,
    shop: Shop,
    items: Float32,
    encode: Callable[[list[str]], Float32],
    settings: ProjectionSettings,
    *,
    seed: int,
    progress: Progress | None = None,
    labels: CrossEncoderLabels | None = None,
) -> Float32:
    """Return `start` after learning from the judgements of `shop`; `start` itself where there are none.

    Args:
        start: float32 [width, dim].
        shop: its judged lists and pairs teach (train/sampling/contrastive_batches.py).
        items: float32 [products, width], unit rows.
        encode: texts -> float32 [texts, width], unit rows.
        settings: see `ProjectionSettings`.
        seed: of the batches.
        progress: called after each step.
        labels: a cross-encoder's scores and hard negatives, besides the judgements.
    """
    labels = labels or CrossEncoderLabels()
    shape = BatchShape(lists=16, list_size=48, pairs=128, negatives=256, hard=HARD_NEGATIVES if labels.negatives else 0)
    evidence = ContrastiveBatches(shop, shape, kinds=EVIDENCE, hard=labels.negatives)
    if not any(evidence.counts.values()) or not settings.steps:
        return start
    queries = encode(list(evidence.queries))
    kinds = [kind for kind in EVIDENCE if evidence.counts[kind]]
    matrix = tf.Variable(start)
    optimizer = keras.optimizers.Adam(settings.learning_rate)
    step = _step_function(matrix, settings.temperature)
    scored = _scored_step(matrix, settings.temperature, labels.loss)
    lists = labels.lists
    asked = encode(lists.texts) if lists is not None else None
    optimizer.build([matrix])
    for number in range(settings.steps):
        optimizer.learning_rate.assign(settings.learning_rate * (1 - number / settings.steps))
        gradients = [step(*_tensors(evidence.batch(kind, number, seed=seed), queries, items)) for kind in kinds]
        if lists is not None and asked is not None:
            chosen = np.random.default_rng((seed, number)).integers(0, len(asked), SCORED_LISTS)
            arrays = (asked[chosen], items[lists.rows[chosen]], lists.scores[chosen])
            gradients.append(scored(*(tf.constant(array) for array in arrays)))
        optimizer.apply_gradients([(tf.add_n(gradients), matrix)])
        if progress is not None:
            progress(number + 1, settings.steps)
    learned: Float32 = matrix.numpy()
    return learned


def _tensors(batch: RelevanceBatch, queries: Float32, items: Float32) -> tuple[Any, ...]:
    arrays = (queries[batch.queries], items[batch.rows], batch.targets, batch.hidden, batch.weights)
    return tuple(tf.constant(array) for array in arrays)


def _scored_step(matrix: Any, temperature: float, kind: ScoreLoss) -> Callable[..., Any]:
    @tf.function
    def step(asked: Any, candidates: Any, scores: Any) -> Any:
        with tf.GradientTape() as tape:
            one = tf.nn.l2_normalize(tf.matmul(asked, matrix), axis=-1)
            others = tf.nn.l2_normalize(tf.einsum("lcw,wd->lcd", candidates, matrix), axis=-1)
            own = tf.einsum("ld,lcd->lc", one, others) / temperature
            loss = kind.weight * score_loss(kind.kind, own, scores)
        return tape.gradient(loss, matrix)

    return step


def _step_function(matrix: Any, temperature: float) -> Callable[..., Any]:
    @tf.function(reduce_retracing=True)
    def step(left: Any, right: Any, targets: Any, hidden: Any, weights: Any) -> Any:
        with tf.GradientTape() as tape:
            one, other = tf.matmul(left, matrix), tf.matmul(right, matrix)
            loss = contrastive_loss(one, other, targets, hidden, weights, temperature=temperature)
        return tape.gradient(loss, matrix)

    return step
