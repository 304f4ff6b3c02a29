"""The loss of click tuning: pairs of shown products in the order of their attractions."""

from typing import Any

from train.backend import tf


def ranknet_loss(scores: Any, targets: Any, mask: Any) -> Any:
    """Return the mean logistic loss over pairs, each weighted by how far its targets are apart: a scalar.

    RankNet (Burges et al., "Learning to rank using gradient descent", 2005); pairs of equal targets do not count.

    Args:
        scores: float32 [queries, shown].
        targets: float32 [queries, shown].
        mask: float32 [queries, shown], 0 where nothing was shown.
    """
    better = tf.nn.relu(targets[:, :, None] - targets[:, None, :]) * mask[:, :, None] * mask[:, None, :]
    costs = better * tf.nn.softplus(scores[:, None, :] - scores[:, :, None])
    # Where no pair differs the sum is 0: any small number keeps 0 / 0 away.
    return tf.reduce_sum(costs) / tf.maximum(tf.reduce_sum(better), 1e-6)
