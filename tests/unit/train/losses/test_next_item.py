"""The loss of the next basket keeps its value."""

import numpy as np
import pytest

from tests.support.tiny_student import unit
from train.backend import keras, tf
from train.losses.next_item import next_basket_loss, own_items_loss
from train.models.demand_features import SIGNALS
from train.models.history import NextBasket


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


class Sum(keras.Model):
    """A head without weights: the sum of the items, and fixed repeat scores."""

    def call(self, inputs, training=False):
        items, mask = inputs
        return tf.reduce_sum(items, 1), tf.cast(mask, tf.float32) * tf.constant([[0.5, 1.0, 2.0]])


@pytest.mark.parametrize(("repeatable", "expected"), [([1.0, 1.0], 4.26421213), ([1.0, 0.0], 3.22822809)])
def test_the_loss_keeps_its_value(repeatable, expected):
    learnable = np.array([1, 1, 1, 1, 0, 0], bool)
    axes = normal(13, SIGNALS, 4) * np.float32(0.1)
    model = NextBasket(Sum(), unit(normal(12, 6, 4)), learnable=learnable, axes=axes)
    model.correction.assign(normal(14, 6, 4) * 0.1)
    slots = np.array([[-1, 0, 1], [2, 3, 2]], np.int32)
    candidates = np.array([0, 1, 2, 3, 5], np.int32)
    targets = np.array([[0.5, 0, 0.5, 0, 0], [0, 0, 0, 0, 1.0]], np.float32)
    loss = next_basket_loss(model, correction_penalty=2.0, repurchase_weight=1.0, new_item_bonus=0.7)
    found = loss(slots, slots, tf.constant(repeatable), candidates, targets, normal(15, 6, SIGNALS))
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_a_user_who_bought_nothing_again_costs_nothing():
    nothing = own_items_loss(tf.ones((1, 3)), tf.zeros((1, 3), tf.bool), tf.constant([[0.0, 1.0, 0.0]]))
    assert float(nothing) == 0.0
