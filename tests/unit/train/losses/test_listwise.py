"""The loss of judged lists keeps its value."""

import numpy as np
import pytest

from train.backend import tf
from train.losses.listwise import graded_loss


def test_the_loss_keeps_its_value():
    scores = np.random.default_rng(11).standard_normal((2, 4)).astype(np.float32)
    gains = np.array([[1.0, 0.5, 0.0, np.nan], [0.1, 0.0, np.nan, np.nan]], np.float32)
    found = graded_loss(tf.constant(scores), tf.constant(gains), gain_temperature=0.25, pairwise_weight=0.5)
    assert float(found) == pytest.approx(1.75943089, rel=1e-6)
