"""Contrastive loss with soft targets, for the bi-encoder (the teacher) and for the projection of its vectors.

With one target a row it is the in-batch softmax of Henderson et al., "Efficient Natural Language Response Suggestion",
2017.
"""

from typing import Any

from train.backend import tf
from train.losses import MASK_LOGIT


def contrastive_loss(
    left: Any, right: Any, targets: Any, hidden: Any, weights: Any, *, temperature: float, both_ways: Any = None
) -> Any:
    """Return the weighted mean cross-entropy of each row's ranking of the columns: a scalar.

    Args:
        left: float32 [rows, dim], of any length.
        right: float32 [columns, dim], of any length.
        targets: float32 [rows, columns], rows that sum to 1, 0 where hidden.
        hidden: bool [rows, columns], which pairs are no candidates.
        weights: float32 [rows].
        temperature: of the cosines.
        both_ways: float32 [], 1 where a column ranks the rows as well and counts as much, which takes as many columns
            as rows; 0 or None where it does not.
    """
    cosines = tf.matmul(tf.nn.l2_normalize(left, axis=-1), tf.nn.l2_normalize(right, axis=-1), transpose_b=True)
    logits = tf.where(hidden, MASK_LOGIT, cosines / temperature)
    losses = -tf.reduce_sum(targets * tf.nn.log_softmax(logits, axis=1), axis=1)
    if both_ways is not None:
        backward = -tf.reduce_sum(targets * tf.nn.log_softmax(logits, axis=0), axis=1)
        losses = (losses + both_ways * backward) / (1.0 + both_ways)
    return tf.reduce_mean(weights * losses)
