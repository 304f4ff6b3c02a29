"""The contrastive loss keeps its value, and tells hidden pairs from candidates."""

import numpy as np
import pytest

from train.losses.contrastive import contrastive_loss

VECTORS = np.random.default_rng(5).standard_normal((10, 4)).astype(np.float32)
WEIGHTS = np.array([1.0, 0.5, 2.0], np.float32)
HIDDEN = np.zeros((3, 3), bool)
HIDDEN[0, 1] = True


def loss(right, hidden=HIDDEN, both_ways=None):
    targets = np.eye(3, len(right), dtype=np.float32)
    found = contrastive_loss(VECTORS[:3], right, targets, hidden, WEIGHTS, temperature=0.05, both_ways=both_ways)
    return float(found)


@pytest.mark.parametrize(("both_ways", "expected"), [(None, 5.59091711), (0.0, 5.59091711), (1.0, 6.93733835)])
def test_the_loss_keeps_its_value(both_ways, expected):
    assert loss(VECTORS[3:6], both_ways=both_ways) == pytest.approx(expected, rel=1e-6)


def test_a_hidden_column_is_as_if_it_were_not_there():
    hidden = np.zeros((3, 4), bool)
    hidden[:, 3] = True
    none = np.zeros((3, 3), bool)
    assert loss(VECTORS[3:7], hidden) == pytest.approx(loss(VECTORS[3:6], none), rel=1e-6)
