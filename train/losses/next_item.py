"""The history head's loss: cross-entropy of the next basket, over all products and over the user's own."""

from collections.abc import Callable
from typing import Any

from train.backend import tf
from train.losses import MASK_LOGIT


def next_basket_loss(
    model: Any, *, correction_penalty: float = 0.0, repurchase_weight: float = 0.0, new_item_bonus: float = 0.0
) -> Callable[..., Any]:
    """Return the loss of a batch of `NextBasketBatches` (train/sampling/next_basket_batches.py).

    Args:
        model: `NextBasket` (train/models/history.py).
        correction_penalty: of the corrections' mean squared length.
        repurchase_weight: of `own_items_loss` beside the cross-entropy over all candidates.
        new_item_bonus: is added to the logit of every product that the user never bought.
    """

    def loss(slots: Any, places: Any, repeatable: Any, candidates: Any, targets: Any, signals: Any) -> Any:
        logits, owned = model.logits(slots, places, repeatable, candidates, signals)
        bonus = new_item_bonus * repeatable[:, None] * tf.cast(tf.logical_not(owned), tf.float32)
        value = -tf.reduce_mean(tf.reduce_sum(targets * tf.nn.log_softmax(logits + bonus), axis=-1))
        if repurchase_weight:
            value += repurchase_weight * own_items_loss(logits, owned, targets * repeatable[:, None])
        return value + correction_penalty * model.correction_size()

    return loss


def own_items_loss(logits: Any, owned: Any, targets: Any) -> Any:
    """Return the cross-entropy of targets [batch, n] among the `owned` [batch, n]; rows without any give 0."""
    again = tf.where(owned, targets, 0.0)
    again /= tf.maximum(tf.reduce_sum(again, axis=-1, keepdims=True), 1e-9)
    chances = tf.nn.log_softmax(tf.where(owned, logits, MASK_LOGIT))
    return -tf.reduce_mean(tf.reduce_sum(again * chances, axis=-1))
