"""SASRec (Kang and McAuley, 2018), compact: causal self-attention over the purchases, full softmax, float32."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.recommendation.online_retail_protocol import Customer, Rank, rank_scores
from edge_runtime.contract.types import Int32
from train.backend import keras, tf

LENGTH = 100
HIDDEN = 64
BLOCKS = 2
HEADS = 2
DROPOUT = 0.3
BATCH = 64
STEPS = 1_000
LEARNING_RATE = 1e-3


def sasrec_peer(
    baskets: Mapping[str, Sequence[Int32]],
    products: int,
    *,
    seed: int,
    steps: int = STEPS,
    progress: Callable[[int, int], None] | None = None,
) -> Rank:
    """Train on every user's purchases in their order and return a ranker.

    Args:
        baskets: of all users, oldest first; the order within a basket is the table's.
        products: how many there are.
        seed: of weights and batches.
        steps: of training, `BATCH` users each.
        progress: called with (done, total) after each step.
    """
    keras.utils.set_random_seed(seed)
    sequences = [np.concatenate(one) for one in baskets.values() if sum(map(len, one)) > 1]
    model = _build(products)
    optimizer = keras.optimizers.Adam(LEARNING_RATE)
    random = np.random.default_rng(seed)

    @tf.function
    def train(read: Any, following: Any) -> None:
        with tf.GradientTape() as tape:
            logits = model(read, training=True)
            known = tf.cast(following > 0, tf.float32)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(following - 1, 0), logits)
            loss = tf.reduce_sum(losses * known) / tf.reduce_sum(known)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    for step in range(steps):
        drawn = [_window(sequences[user], random) for user in random.integers(0, len(sequences), BATCH)]
        train(tf.constant(_padded([one[:-1] for one in drawn])), tf.constant(_padded([one[1:] for one in drawn])))
        if progress is not None:
            progress(step + 1, steps)

    @tf.function
    def answer(read: Any) -> Any:
        return model(read, training=False)[0, -1]

    def rank(customer: Customer, new_only: bool) -> list[int]:
        return rank_scores(answer(tf.constant(_padded([customer.bought]))).numpy(), customer, new_only)

    return rank


def _window(sequence: Int32, random: np.random.Generator) -> Int32:
    start = int(random.integers(0, max(1, len(sequence) - LENGTH)))
    return sequence[start : start + LENGTH + 1]


def _padded(sequences: Sequence[Int32]) -> Int32:
    """Return int32 [sequences, LENGTH]: rows plus one, newest last, 0 in front."""
    padded = np.zeros((len(sequences), LENGTH), dtype=np.int32)
    for number, sequence in enumerate(sequences):
        newest = sequence[-LENGTH:] + 1
        if len(newest):
            padded[number, -len(newest) :] = newest
    return padded


class _TiedSoftmax(keras.layers.Layer):
    """Logits of all products by the table that also reads them."""

    def __init__(self, table: Any) -> None:
        super().__init__(name="tied_softmax")
        self._table = table

    def call(self, x: Any) -> Any:
        """Return float32 [batch, LENGTH, products]."""
        return tf.matmul(x, tf.tile(self._table.embeddings[None, 1:], (tf.shape(x)[0], 1, 1)), transpose_b=True)


def _build(products: int) -> Any:
    layers = keras.layers
    ids = keras.Input((LENGTH,), dtype="int32")
    table = layers.Embedding(products + 1, HIDDEN, embeddings_initializer=keras.initializers.RandomNormal(0.0, 0.02))
    places = layers.Embedding(LENGTH, HIDDEN)(tf.range(LENGTH)[None])
    present = layers.Lambda(lambda read: tf.not_equal(read, 0)[:, None, :])(ids)
    x = layers.Dropout(DROPOUT)(table(ids) * HIDDEN**0.5 + places)
    for _ in range(BLOCKS):
        normal = layers.LayerNormalization()(x)
        attention = layers.MultiHeadAttention(HEADS, HIDDEN // HEADS, dropout=DROPOUT)
        x = x + attention(normal, normal, attention_mask=present, use_causal_mask=True)
        inner = layers.Dense(HIDDEN, activation="relu")(layers.LayerNormalization()(x))
        x = x + layers.Dropout(DROPOUT)(layers.Dense(HIDDEN)(inner))
    return keras.Model(ids, _TiedSoftmax(table)(layers.LayerNormalization()(x)))
