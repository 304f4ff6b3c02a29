import numpy as np
import pytest

from compress.measure.quality import ndcg_by_query, unit_rows
from compress.measure.retention import RetentionScale, chance_by_query, judged_by_teacher, optimism
from train.data.tables import Judgement

RANDOM = np.random.default_rng(0)
ITEMS = unit_rows(RANDOM.standard_normal((50, 8)))
QUERIES = unit_rows(RANDOM.standard_normal((40, 8)))
NAMES = [f"q{n}" for n in range(40)]
JUDGED = {
    name: [Judgement(name, int(row), float(gain)) for row, gain in zip(RANDOM.permutation(50)[:12], GAINS, strict=True)]
    for name, GAINS in zip(NAMES, RANDOM.choice([0.0, 0.1, 1.0], (40, 12)) + np.eye(1, 12), strict=True)
}


def scale():
    empty = RetentionScale(JUDGED, ITEMS, np.zeros((0, 2)), False)
    teacher = np.clip(empty.values(QUERIES) + 0.3, 0, 1)
    return RetentionScale(JUDGED, ITEMS, teacher, False)


def test_the_teacher_keeps_all_and_chance_nothing():
    of = scale()
    assert of.retention(of.teacher) == pytest.approx(1.0)
    assert of.retention(of.chance) == pytest.approx(0.0)
    assert of.retention((of.teacher + of.chance) / 2) == pytest.approx(0.5)


def test_chance_is_what_random_orders_get_on_average():
    random = np.random.default_rng(1)
    found = np.mean([ndcg_by_query(JUDGED, random.random((40, 50))) for _ in range(400)], axis=0)
    expected = chance_by_query(JUDGED, products=50)
    assert np.abs(found - expected).max() < 0.06
    np.testing.assert_allclose(found.mean(axis=0), expected.mean(axis=0), atol=0.01)


def test_a_query_without_a_gain_does_not_count():
    judged = {**JUDGED, "nothing": [Judgement("nothing", 1, 0.0)]}
    assert chance_by_query(judged, products=50).shape == (40, 2)


def test_the_interval_holds_the_retention():
    of = scale()
    values = of.values(QUERIES)
    low, high = of.interval(values)
    assert low < of.retention(values) < high


def test_a_student_has_no_noise_against_itself():
    of = scale()
    values = of.values(QUERIES)
    assert of.noise(values, values) == 0.0
    assert of.noise(values, of.teacher) > 0.0


def test_the_teacher_s_own_rankings_give_itself_full_marks():
    judged = judged_by_teacher(NAMES, QUERIES, ITEMS)
    of = RetentionScale(judged, ITEMS, np.ones((40, 2)), True)
    np.testing.assert_allclose(of.values(QUERIES), 1.0)
    assert of.retention(of.values(QUERIES[::-1].copy())) < 0.5
    assert judged["q0"][0].gain == 1.0
    assert judged["q0"][0].row == int(np.argmax(ITEMS @ QUERIES[0]))


def test_choosing_among_equals_flatters_the_winner():
    of, random = scale(), np.random.default_rng(2)
    noisy = [np.clip(of.teacher * 0.8 + random.normal(0, 0.2, (40, 2)), 0, 1) for _ in range(8)]
    assert optimism(of, noisy) > 0.005
    assert optimism(of, [noisy[0], noisy[0]]) == pytest.approx(0.0, abs=1e-9)
