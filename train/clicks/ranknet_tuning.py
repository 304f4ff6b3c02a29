"""Fine-tunes a finished student on judgements from clicks, so that the update of a device stays small.

The word table and all quantization ranges are frozen. Only the weights of a few small layers change, and the delta is a
few percent of the model. The loss of a batch has two parts: over all
pairs of products that were shown for a query, the logistic loss of their scores' difference weighted by their attractions'
difference (RankNet: Burges et al., "Learning to rank using gradient descent", 2005), so that pairs in the right order cost
nothing; and, on other texts, the distance of the vectors from those of the old model.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_runtime.contract.types import Float32, Int32
from train.backend import tf
from train.loop import Batches
from train.losses import COSINE_TEMPERATURE
from train.losses.ranknet import ranknet_loss


@dataclass(frozen=True)
class TuneSettings:
    """How far clicks may move a model.

    Attributes:
        steps: of training.
        batch: queries of a step, and as many other texts.
        learning_rate: the highest of the schedule.
        temperature: a difference of hybrid scores, in units of a cosine, that is clear.
        anchor_weight: how much it costs to move other texts.
    """

    steps: int = 400
    batch: int = 64
    learning_rate: float = 1e-3
    temperature: float = COSINE_TEMPERATURE
    anchor_weight: float = 2.0


@dataclass(frozen=True)
class ClickTargets:
    """What was shown for queries and how attractive it was.

    Attributes:
        query_ids: int32 [queries, query_tokens].
        items: int32 [queries, shown], rows of products; any row where `mask` is 0.
        targets: float32 [queries, shown], attractions.
        mask: float32 [queries, shown].
        offsets: float32 [queries, shown], what the other half of the hybrid score adds to the product's cosine.
    """

    query_ids: Int32
    items: Int32
    targets: Float32
    mask: Float32
    offsets: Float32


class FrozenTable:
    """A quantized student as `fit` sees it: all of its variables, of which the word table may not change.

    A wrapped layer of tfmot keeps its weights trainable whatever `trainable` says, so the list is cut here.
    """

    def __init__(self, model: Any) -> None:
        tables = {id(one) for layer in model.layers if layer.name.endswith("word") for one in layer.weights}
        self.variables = model.variables
        self.trainable_variables = [one for one in model.trainable_variables if id(one) not in tables]

    @property
    def free(self) -> int:
        """How many numbers may change."""
        return int(sum(np.prod(variable.shape) for variable in self.trainable_variables))


def tuning_batches(
    targets: ClickTargets, other_ids: Int32, other_vectors: Float32, settings: TuneSettings, *, seed: int
) -> Batches:
    """Return batches of (query ids, shown rows, targets, mask, offsets, other ids, their old vectors)."""

    def batches(step: int) -> tuple[Any, ...]:
        random = np.random.default_rng((seed, step))
        rows = random.integers(0, len(targets.query_ids), settings.batch)
        others = random.integers(0, len(other_ids), settings.batch)
        arrays = (targets.query_ids, targets.items, targets.targets, targets.mask, targets.offsets)
        return (
            *(tf.constant(array[rows]) for array in arrays),
            tf.constant(other_ids[others]),
            tf.constant(other_vectors[others]),
        )

    return batches


def tuning_loss(model: Any, item_vectors: Float32, settings: TuneSettings) -> Callable[..., Any]:
    """Return the loss of a batch, see the module's docstring; `training=False` keeps every range where it is."""
    items = tf.constant(item_vectors)

    def loss(ids: Any, rows: Any, targets: Any, mask: Any, offsets: Any, other_ids: Any, old: Any) -> Any:
        vectors = tf.nn.l2_normalize(model(ids, training=False), axis=-1)
        cosines = tf.einsum("qd,qnd->qn", vectors, tf.gather(items, rows))
        scores = (cosines + offsets) / settings.temperature
        moved = tf.nn.l2_normalize(model(other_ids, training=False), axis=-1)
        anchor = tf.reduce_mean(1.0 - tf.reduce_sum(moved * old, axis=-1))
        return ranknet_loss(scores, targets, mask) + settings.anchor_weight * anchor

    return loss
