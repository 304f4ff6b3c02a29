"""Learning to rank a list as a cross-encoder ranked it: Margin-MSE and listwise KL.

Margin-MSE (Hofstätter et al., "Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge
Distillation", 2020): the distance of each candidate's score from the best one's is to be the teacher's distance.
Listwise KL: the softmax over the list is to be the teacher's. Both look at scores in the unit of logits.
"""

from dataclasses import dataclass
from typing import Any, Literal

from train.backend import tf

ScoreLossKind = Literal["none", "margin-mse", "listwise-kl"]

_MARGIN_UNIT = 0.25
"""Margins are some logits apart; in this unit their squares are as large as the divergence of a list, so that one weight
suits both losses."""


@dataclass(frozen=True)
class ScoreLoss:
    """Which loss of scored lists, and how much it counts beside the others."""

    kind: ScoreLossKind = "none"
    weight: float = 1.0


def score_loss(kind: ScoreLossKind, own: Any, teacher: Any) -> Any:
    """Return the mean loss of the lists: a scalar.

    Args:
        kind: "margin-mse", "listwise-kl", or "none" for 0.
        own: float32 [lists, candidates], what is trained.
        teacher: float32 [lists, candidates].
    """
    if kind == "margin-mse":
        best = tf.argmax(teacher, axis=1)
        wanted, found = (tf.gather(scores, best, axis=1, batch_dims=1)[:, None] - scores for scores in (teacher, own))
        candidates = tf.cast(tf.shape(own)[1], own.dtype)
        # The best one's distance from itself is 0 on both sides and is not counted.
        squares = tf.square((found - wanted) * _MARGIN_UNIT)
        return tf.reduce_mean(tf.reduce_sum(squares, axis=1) / tf.maximum(candidates - 1.0, 1.0))
    if kind == "listwise-kl":
        log_teacher, log_own = tf.nn.log_softmax(teacher), tf.nn.log_softmax(own)
        return tf.reduce_mean(tf.reduce_sum(tf.exp(log_teacher) * (log_teacher - log_own), axis=1))
    return tf.zeros(())
