"""The cross-encoder's loss: judged lists, ranked by gain."""

from typing import Any

from train.backend import tf
from train.losses import MASK_LOGIT


def graded_loss(scores: Any, gains: Any, *, gain_temperature: float, pairwise_weight: float) -> Any:
    """Return the mean over lists of listwise cross-entropy plus `pairwise_weight` times the pairwise logistic loss.

    Listwise: target softmax(gain / gain_temperature). Pairwise: log(1 + exp(worse - better)) over all pairs of unlike
    gain, each weighted by the difference of the gains.

    Args:
        scores: float32 [lists, candidates].
        gains: float32 [lists, candidates]; NaN is no candidate.
        gain_temperature: the smaller, the more the best gain alone counts.
        pairwise_weight: 0 leaves the pairwise term out.
    """
    there = tf.logical_not(tf.math.is_nan(gains))
    gains = tf.where(there, gains, 0.0)
    scores = tf.where(there, scores, MASK_LOGIT)
    target = tf.nn.softmax(tf.where(there, gains / gain_temperature, MASK_LOGIT))
    listwise = -tf.reduce_sum(target * tf.nn.log_softmax(scores), axis=1)
    both = tf.logical_and(there[:, :, None], there[:, None, :])
    ahead = tf.where(both, tf.nn.relu(gains[:, :, None] - gains[:, None, :]), 0.0)
    apart = tf.where(both, scores[:, :, None] - scores[:, None, :], 0.0)
    pairwise = tf.reduce_sum(ahead * tf.nn.softplus(-apart), axis=(1, 2))
    pairwise = tf.math.divide_no_nan(pairwise, tf.reduce_sum(ahead, axis=(1, 2)))
    return tf.reduce_mean(listwise + pairwise_weight * pairwise)
