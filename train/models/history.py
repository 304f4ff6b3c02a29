"""The history head: a purchase history -> a query vector in the space of the items, trained on the next basket.

Score of a product = query · item vector + `repeat` of every slot of the history that holds it. The second part is a
learned pointer (as in RepeatNet, Ren et al., 2019): one dot product cannot select ten products out of sixty bought ones
without selecting their neighbors too, and most baskets hold products that were bought before.

Attention pooling: a few learned heads weigh the items of a history by content and position, the heads'
weighted means are concatenated, and one dense layer maps them to the query. The dense layer starts as the mean over the
heads, so that the head recommends products similar to the purchases before the first step.

Together with the head a correction of the item vectors is learned: the vectors of products that are bought together
become more similar, products that nobody bought keep their vectors, and a penalty keeps every vector near that of its
text, so that search still finds it.
Demand (train/models/demand_features.py) is a part of the vectors as well: the head learns how
much a customer's next basket follows it, from the demand at the time of each basket.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.types import Float32
from train.backend import keras, tf
from train.models.demand_features import SIGNALS
from train.models.layers import (
    AddBias,
    ConcatHeads,
    LearnedPosition,
    MaskBias,
    MatMul,
    NewAxis,
    OneMinus,
    QuantizeFlag,
    QuantizeInput,
    Shift,
    Softmax,
    SqueezeHead,
    TransposeHeads,
)
from train.sampling.next_basket_batches import NO_ITEM

HALF_WEIGHT_AFTER_ITEMS = 16
NOT_REPEATABLE = -30.0
"""Added to the score of a bought product where a basket was cut in two: exp(-30) is 1e-13. It is added, and does not
replace the score, so it has to leave the score's digits in float32; MASK_LOGIT would not."""

QUERY_NORM = 4.0
"""A softmax over cosines in [-1, 1] could hardly tell products apart; the query starts with about this norm."""


@dataclass(frozen=True)
class HistorySettings:
    """Shape and training of the history head.

    Attributes:
        items: how many of the newest purchases are read.
        heads: weighted means beside each other.
        hidden: width of the layer that decides the weights.
        pointer_hidden: width of a hidden layer between a bought product and its repeat score; 0 for none, where that
            is linear in the product's vector: of few people a layer learns the purchases by heart.
        steps: training steps; 0 leaves head and item vectors untrained.
        batch: histories a step.
        learning_rate: of Adam.
        split_share: share of a batch that is one basket cut in two instead of a history with its next basket.
        held_out_share: share of the users whose last basket validates.
        correction_penalty: weight of the mean squared length of the item corrections; the higher, the nearer an item
            stays to its text, and the less search loses by training on purchases. A shop that is not searched may
            choose 1.
        max_candidates: at most so many products in one softmax.
        repurchase_weight: weight of ranking a user's own products by what is bought again, beside ranking all of them by what
            is bought; without it the many new products of a basket outweigh the few repeats.
        new_item_bonus: added in training to the score of every product that the user never bought. It makes the head rank
            such a product above a bought one only when it is sure; on a device nothing is added.
        demand: length that one standard deviation of demand has in an item vector; 0 leaves demand out.
        demand_half_life_days: a basket counts half as much for demand as one that is so many days younger.
    """

    items: int = 64
    heads: int = 4
    hidden: int = 64
    pointer_hidden: int = 32
    steps: int = 500
    batch: int = 128
    learning_rate: float = 2e-3
    split_share: float = 0.2
    held_out_share: float = 0.1
    correction_penalty: float = 16.0
    max_candidates: int = 20_000
    repurchase_weight: float = 1.0
    new_item_bonus: float = 0.0
    demand: float = 0.1
    demand_half_life_days: float = 14.0

    def __post_init__(self) -> None:
        """Refuse what cannot be computed."""
        if self.demand < 0:
            raise ValueError(f"demand is {self.demand}, expected 0 or more")
        if not self.demand_half_life_days > 0:
            raise ValueError(f"demand_half_life_days is {self.demand_half_life_days}, expected more than 0")


def build_history_head(settings: HistorySettings, *, dim: int) -> Any:
    """Return the untrained head as a functional model of layers that quantize whole.

    Inputs: `items` float32 [batch, items, dim], newest last, and `mask` float32 [batch, items], 1 = an item. Outputs:
    vector float32 [batch, dim], not of unit length, and repeat float32 [batch, items] on the same scale as the dot
    product of the vector with an item; where the mask is 0 it means nothing. Untrained, the vector is the mean of the
    items, weight halved every `HALF_WEIGHT_AFTER_ITEMS` items into the past, and repeat is 0.
    """
    items = keras.Input((settings.items, dim), name="items")
    mask = keras.Input((settings.items,), name="mask")
    x = QuantizeInput(name="history_items")(items)
    absence = OneMinus(name="history_absence")(QuantizeFlag(name="history_presence")(mask))
    bias = MaskBias(name="history_mask_bias")(NewAxis(name="history_absence_row")(absence))
    placed = LearnedPosition(settings.items, name="history_position")(x)
    inner = keras.layers.ReLU(name="history_relu")(keras.layers.Dense(settings.hidden, name="history_inner")(placed))
    # Zeros: at the start only recency weighs.
    logits = keras.layers.Dense(settings.heads, kernel_initializer="zeros", name="history_logits")(inner)
    recency = Shift(name="history_recency")
    masked = AddBias(name="history_masked")([recency(TransposeHeads(name="history_heads")(logits)), bias])
    age = np.arange(settings.items, dtype=np.float32)[::-1]
    recency.set_weights([-age * (np.log(2.0) / HALF_WEIGHT_AFTER_ITEMS)])
    means = MatMul(name="history_means")([Softmax(name="history_weights")(masked), x])
    query = keras.layers.Dense(dim, name="history_query")
    vector = query(ConcatHeads(name="history_flat")(means))
    start = np.tile(np.eye(dim, dtype=np.float32), (settings.heads, 1)) * (QUERY_NORM / settings.heads)
    query.set_weights([start, np.zeros(dim, np.float32)])
    return keras.Model([items, mask], [vector, _repeat_scores(x, placed, settings)], name="history")


def _repeat_scores(items: Any, placed: Any, settings: HistorySettings) -> Any:
    inner = items
    if settings.pointer_hidden:
        inner = keras.layers.ReLU(name="history_repeat_relu")(
            keras.layers.Dense(settings.pointer_hidden, name="history_repeat_inner")(placed)
        )
    score = keras.layers.Dense(1, kernel_initializer="zeros", name="history_repeat_score")(inner)
    row = TransposeHeads(name="history_repeat_row")(score)
    return SqueezeHead(name="history_repeat")(Shift(name="history_repeat_recency")(row))


class NextBasket(keras.Model):
    """A history head over a table of item vectors, as one model to train: head alone, or head and table."""

    def __init__(
        self,
        head: Any,
        item_vectors: Float32,
        *,
        learnable: npt.NDArray[np.bool_] | None = None,
        axes: Float32 | None = None,
    ) -> None:
        """Hold `head` and `item_vectors` float32 [N, dim]; `learnable` bool [N] says whose vectors are corrected.

        Args:
            head: from `build_history_head`, plain or quantized.
            item_vectors: rows, before demand is added.
            learnable: None when the vectors stay as they are.
            axes: float32 [SIGNALS, dim], what one unit of each signal of demand adds to a vector; None for nothing.
        """
        super().__init__(name="next_basket")
        self.head = head
        self._text = tf.constant(item_vectors)
        self._axes = tf.constant(np.zeros((SIGNALS, item_vectors.shape[1]), np.float32) if axes is None else axes)
        self._learnable = None if learnable is None else tf.constant(learnable[:, None], tf.float32)
        self.correction = (
            None
            if learnable is None
            else self.add_weight(name="correction", shape=item_vectors.shape, initializer="zeros")
        )

    def settled(self) -> Any:
        """Return the item vectors float32 [N, dim], corrected, before demand is added; of any length."""
        return self._text if self.correction is None else self._text + self.correction * self._learnable

    def vectors(self, signals: Any) -> Any:
        """Return the item vectors float32 [N, dim] under a demand float32 [N, SIGNALS], unit rows."""
        return tf.nn.l2_normalize(self.settled() + tf.matmul(signals, self._axes), axis=-1)

    def logits(self, slots: Any, places: Any, repeatable: Any, candidates: Any, signals: Any) -> tuple[Any, Any]:
        """Return the candidates' logits float32 [batch, n] and which of them the user owns, bool [batch, n].

        The arguments are those of a batch of `NextBasketBatches`.
        """
        table = self.vectors(signals)
        mask = tf.cast(tf.not_equal(slots, NO_ITEM), tf.float32)
        items = tf.gather(table, tf.maximum(slots, 0)) * mask[:, :, None]
        query, repeat = self.head([items, mask], training=True)
        repeat = repeatable[:, None] * repeat + (1.0 - repeatable[:, None]) * NOT_REPEATABLE
        logits = _add_at(tf.matmul(query, tf.gather(table, candidates), transpose_b=True), places, repeat)
        owned = _add_at(tf.zeros_like(logits), places, tf.ones_like(places, tf.float32)) > 0
        return logits, owned

    def correction_size(self) -> Any:
        """Return the mean squared length of the corrections: a scalar, 0 where nothing is corrected."""
        if self.correction is None:
            return tf.zeros(())
        return tf.reduce_mean(tf.reduce_sum(tf.square(self.correction * self._learnable), axis=-1))


def _add_at(logits: Any, places: Any, scores: Any) -> Any:
    """Add scores [batch, items] to logits [batch, n] at places [batch, items]; `NO_ITEM` adds nothing."""
    rows = tf.tile(tf.range(tf.shape(places)[0])[:, None], (1, tf.shape(places)[1]))
    present = tf.cast(tf.not_equal(places, NO_ITEM), tf.float32)
    return tf.tensor_scatter_nd_add(logits, tf.stack([rows, tf.maximum(places, 0)], axis=-1), scores * present)
