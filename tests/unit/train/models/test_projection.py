"""The map from the teacher's width to the device's, on vectors whose useful direction is known."""

import numpy as np
import pytest

from tests.support.shops import make_shop
from train.data.tables import Judgement, Product
from train.models.projection import ProjectionSettings, learn_projection, start_projection


def unit_rows(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_without_whitening_the_dot_products_of_a_subspace_are_kept():
    random = np.random.default_rng(0)
    vectors = unit_rows(random.standard_normal((30, 4)) @ random.standard_normal((4, 12)))
    narrow = vectors @ start_projection(vectors, 4, whitening=0.0)
    np.testing.assert_allclose(narrow @ narrow.T, vectors @ vectors.T, atol=1e-5)


@pytest.mark.parametrize(("rows", "width", "dim"), [(3, 12, 8), (30, 4, 8)])
def test_more_dimensions_than_there_are_fill_with_zeros_and_keep_cosines(rows, width, dim):
    vectors = unit_rows(np.random.default_rng(0).standard_normal((rows, width)))
    matrix = start_projection(vectors, dim, whitening=0.0)
    assert (matrix.shape, matrix.dtype) == ((width, dim), np.float32)
    np.testing.assert_allclose((vectors @ matrix) @ (vectors @ matrix).T, vectors @ vectors.T, atol=1e-5)


def test_whole_whitening_makes_all_directions_equally_wide():
    vectors = np.random.default_rng(0).standard_normal((200, 3)).astype(np.float32) * [9.0, 3.0, 1.0]
    narrow = vectors @ start_projection(vectors.astype(np.float32), 3, whitening=1.0)
    spread = np.linalg.norm(narrow, axis=0)
    np.testing.assert_allclose(spread, spread.mean(), rtol=1e-3)


@pytest.mark.parametrize("change", [{"steps": -1}, {"whitening": 1.5}, {"learning_rate": 0.0}, {"temperature": 0.0}])
def test_settings_that_cannot_be_computed_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        ProjectionSettings(**change)


PRODUCTS = [Product(f"p{number}", f"thing {number}") for number in range(40)]


def test_judgements_teach_which_directions_tell_products_apart():
    """What is wanted shows in the last four directions; the first four, which are wider, are noise."""
    random = np.random.default_rng(1)
    wanted = random.standard_normal((40, 4))
    noise = 2.0 * random.standard_normal((80, 4))
    items = unit_rows(np.hstack([noise[:40], wanted]))
    queries = unit_rows(np.hstack([noise[40:], wanted]))
    judgements = [Judgement(f"query {row}", row, 1.0) for row in range(30)]
    shop = make_shop(PRODUCTS, judgements=judgements)
    start = start_projection(items, 8, whitening=0.0)

    def encode(texts):
        return queries[[int(text.split()[1]) for text in texts]]

    def found(matrix, rows):
        one, other = unit_rows(queries @ matrix), unit_rows(items @ matrix)
        return np.mean(np.argmax(one @ other.T, axis=1)[rows] == np.arange(40)[rows])

    settings = ProjectionSettings(steps=150, learning_rate=1e-2)
    learned = learn_projection(start, shop, items, encode, settings, seed=0)
    assert found(start, slice(30, 40)) < 0.6
    assert found(learned, slice(30, 40)) > found(start, slice(30, 40)) + 0.3
    np.testing.assert_array_equal(learned, learn_projection(start, shop, items, encode, settings, seed=0))


def test_a_shop_without_judgements_leaves_the_map_as_it_starts():
    start = np.eye(8, dtype=np.float32)
    items = np.eye(40, 8, dtype=np.float32)
    assert learn_projection(start, make_shop(PRODUCTS), items, None, ProjectionSettings(), seed=0) is start
