"""The student's loss: its terms by hand, its registry, and what learns by scored lists."""

from dataclasses import dataclass

import numpy as np
import pytest

from tests.support.shops import make_shop
from tests.support.tiny_student import tiny_distillation_set, tiny_student, unit
from train.backend import keras, tf
from train.data.tables import Judgement, Product
from train.distillation import (
    DistillationSet,
    DistillSettings,
    ScoredIds,
    distillation_batches,
)
from train.loop import FitSettings, fit
from train.losses.distillation import ScoreLoss, distillation_loss, score_loss, student_term, student_terms
from train.models.projection import CrossEncoderLabels, ProjectionSettings, learn_projection
from train.sampling.hard_negatives import ScoredLists

OWN, TEACHER = np.array([[3.0, 1.0, 0.0], [0.0, 0.0, 4.0]], np.float32), np.array([[1.0, 5.0, 2.0], [2.0, 0.0, 1.0]])


def value(kind, own=OWN, teacher=TEACHER):
    return float(score_loss(kind, tf.constant(own, tf.float32), tf.constant(teacher, tf.float32)))


def test_margin_mse_compares_distances_from_the_teacher_s_best():
    # First list: the best is the second; wanted 4 and 3 ahead, found -2 and 1. Second: wanted 2 and 1, found 0 and -4.
    expected = np.mean([(36 + 4) / 2, (4 + 25) / 2]) / 4**2
    assert value("margin-mse") == pytest.approx(expected, rel=1e-5)


def test_listwise_kl_compares_softmaxes():
    def softmax(scores):
        weights = np.exp(scores)
        return weights / weights.sum(axis=1, keepdims=True)

    wanted, found = softmax(TEACHER), softmax(OWN)
    assert value("listwise-kl") == pytest.approx((wanted * np.log(wanted / found)).sum(axis=1).mean(), rel=1e-5)


@pytest.mark.parametrize("kind", ["margin-mse", "listwise-kl"])
def test_what_is_common_to_a_whole_list_costs_nothing(kind):
    assert value(kind, TEACHER + 7.0) == pytest.approx(0.0, abs=1e-6)
    assert value("none") == 0.0


@pytest.mark.parametrize("kind", ["margin-mse", "listwise-kl"])
def test_the_projection_ranks_candidates_as_they_were_scored(kind):
    """Scores follow the last four directions; the first four, which are wider, are noise."""
    random = np.random.default_rng(1)
    wanted = random.standard_normal((80, 4))
    everything = unit(np.hstack([2.0 * random.standard_normal((80, 4)), wanted]))
    queries, items = everything[:40], everything[40:]
    truth = unit(wanted[:40]) @ unit(wanted[40:]).T
    rows = np.argsort(-queries @ items.T, axis=1)[:, :12]
    lists = ScoredLists([f"query {row}" for row in range(30)], rows[:30], 20 * np.take_along_axis(truth, rows, 1)[:30])
    shop = make_shop(
        [Product(f"p{row}", f"thing {row}") for row in range(40)], judgements=[Judgement("query 0", 0, 1.0)]
    )

    def encode(texts):
        return queries[[int(text.split()[1]) for text in texts]]

    def agreement(matrix):
        found = np.take_along_axis(unit(queries @ matrix) @ unit(items @ matrix).T, rows, 1)[30:]
        told = np.take_along_axis(truth, rows, 1)[30:]
        return np.mean([np.corrcoef(one, other)[0, 1] for one, other in zip(found, told, strict=True)])

    start = np.eye(8, dtype=np.float32)
    settings = ProjectionSettings(steps=150, learning_rate=1e-2)
    labels = CrossEncoderLabels(lists=lists, loss=ScoreLoss(kind, 5.0))
    learned = learn_projection(start, shop, items, encode, settings, seed=0, labels=labels)
    assert agreement(learned) > agreement(start) + 0.3


def test_the_student_ranks_scored_lists_as_they_were_scored(tmp_path):
    plain = tiny_distillation_set()
    random = np.random.default_rng(3)
    rows = np.stack([random.permutation(len(plain.item_ids))[:4] for _ in plain.query_ids])
    scores = (8 * random.standard_normal(rows.shape)).astype(np.float32)
    scored = ScoredIds(plain.query_ids, rows, scores)
    data = DistillationSet(plain.query_ids, plain.query_targets, plain.item_ids, plain.item_targets, scored=scored)
    settings = DistillSettings(batch=8, ranking_items=6, temperature=0.1)

    def divergence(weight, folder):
        keras.utils.set_random_seed(0)
        model, scores_count = tiny_student(), ScoreLoss("listwise-kl", weight)
        loss = distillation_loss(model, settings, scores=scores_count)
        batches = distillation_batches(data, settings, seed=0)
        fit(model, loss, batches, FitSettings(80, 1e-2), checkpoint_folder=folder)
        asked = unit(model(plain.query_ids).numpy())
        own = np.einsum("ld,lcd->lc", asked, plain.item_targets[rows]) / settings.temperature
        return value("listwise-kl", own, scores)

    assert divergence(5.0, tmp_path / "with") < 0.7 * divergence(0.0, tmp_path / "without")


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def rows_of(raw):
    return lambda ids, training: tf.gather(tf.constant(raw), ids[:, 0])


IDS = tf.constant([[0], [1], [2], [3]])
TARGETS, ITEMS = unit(normal(7, 4, 4)), unit(normal(8, 6, 4))
LISTS = {"list_ids": IDS[:2], "list_items": unit(normal(9, 2, 3, 4)), "list_scores": normal(10, 2, 3)}


@pytest.mark.parametrize(
    ("scores", "expected"),
    [(None, 2.39245439), (ScoreLoss("margin-mse", 2.0), 14.4210720), (ScoreLoss("listwise-kl", 2.0), 10.4356785)],
)
def test_the_whole_loss_keeps_its_value(scores, expected):
    loss = distillation_loss(rows_of(3 * normal(6, 4, 4)), DistillSettings(), scores=scores)
    assert float(loss(IDS, TARGETS, ITEMS, LISTS)) == pytest.approx(expected, rel=1e-6)


def test_each_weight_weighs_its_own_part():
    raw = 4 * unit(normal(5, 4, 4))

    def loss(**changes):
        settings = DistillSettings(**{"ranking_weight": 0.0, "vector_weight": 0.0, **changes})
        return float(distillation_loss(rows_of(raw), settings)(IDS, TARGETS, ITEMS, {}))

    assert loss() == pytest.approx(0.0, abs=1e-5)
    assert loss(vector_weight=2.0) == pytest.approx(2 * (1 - (unit(raw) * TARGETS).sum(1)).mean(), rel=1e-4)


def test_a_registered_term_counts_by_its_setting(monkeypatch):
    @dataclass(frozen=True)
    class Settings(DistillSettings):
        ones_weight: float = 3.0

    raw = rows_of(3 * normal(6, 4, 4))
    with pytest.raises(ValueError, match=r"no term of the loss is named ones, expected one of listwise-kl, .*vector"):
        distillation_loss(raw, Settings())
    # What is registered here leaves the registry with the test.
    monkeypatch.setitem(student_terms(), "ones", None)
    student_term("ones")(lambda answers: tf.ones(len(answers.raw)))
    with_ones, without = (
        distillation_loss(raw, one)(IDS, TARGETS, ITEMS, {}) for one in (Settings(), DistillSettings())
    )
    assert float(with_ones - without) == pytest.approx(3.0, rel=1e-5)


def test_every_weight_of_the_settings_has_a_term():
    assert set(DistillSettings().weights) <= set(student_terms())


@pytest.mark.parametrize("name", ["vector_weight", "ranking_weight", "adversary"])
def test_weights_below_zero_are_refused(name):
    with pytest.raises(ValueError, match=rf"{name} is -1\.0, expected 0 or more"):
        DistillSettings(**{name: -1.0})
