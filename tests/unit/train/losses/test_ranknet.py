"""The loss of shown pairs keeps its value, and costs nothing where no pair differs."""

import numpy as np
import pytest

from tests.support.tiny_student import unit
from train.backend import tf
from train.clicks.ranknet_tuning import TuneSettings, tuning_loss
from train.losses.ranknet import ranknet_loss


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_the_loss_of_tuning_keeps_its_value():
    raw = 3 * normal(6, 4, 4)
    loss = tuning_loss(lambda ids, training: tf.gather(raw, ids[:, 0]), unit(normal(12, 6, 4)), TuneSettings())
    shown = (np.array([[0, 1, 2], [3, 4, 5]]), np.abs(normal(16, 2, 3)), np.array([[1, 1, 1], [1, 1, 0]], np.float32))
    offsets = normal(17, 2, 3) * np.float32(0.05)
    found = loss(
        tf.constant([[0], [1]]),
        *map(tf.constant, (*shown, offsets)),
        tf.constant([[2], [3]]),
        unit(normal(7, 4, 4))[:2],
    )
    assert float(found) == pytest.approx(0.550886154, rel=1e-6)


def test_equal_targets_and_hidden_products_cost_nothing():
    scores = tf.constant([[1.0, 5.0]])
    assert float(ranknet_loss(scores, tf.constant([[0.5, 0.5]]), tf.ones((1, 2)))) == 0.0
    assert float(ranknet_loss(scores, tf.constant([[0.5, 0.1]]), tf.constant([[1.0, 0.0]]))) == 0.0
