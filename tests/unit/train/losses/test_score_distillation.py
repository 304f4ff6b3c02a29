"""Losses of scored lists, by hand; and what learns by them."""

import numpy as np
import pytest

from tests.support.shops import make_shop
from tests.support.tiny_student import DIM, tiny_distillation_set, tiny_student, unit
from train.backend import keras, tf
from train.data.tables import Judgement, Product
from train.distillation import (
    DistillationSet,
    DistillSettings,
    ScoredIds,
    distillation_batches,
    distillation_loss,
    with_hidden_map,
)
from train.loop import FitSettings, fit
from train.losses.score_distillation import ScoreLoss, score_loss
from train.models.projection import CrossEncoderLessons, ProjectionSettings, learn_projection
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
    taught = CrossEncoderLessons(lists=lists, loss=ScoreLoss(kind, 5.0))
    learned = learn_projection(start, shop, items, encode, settings, seed=0, taught=taught)
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


def test_the_pooled_state_comes_near_the_teacher_s_and_the_student_keeps_its_weights(tmp_path):
    keras.utils.set_random_seed(0)
    plain, random = tiny_distillation_set(), np.random.default_rng(4)
    wide = random.standard_normal((DIM, 24))
    data = DistillationSet(
        plain.query_ids,
        plain.query_targets,
        plain.item_ids,
        plain.item_targets,
        query_states=unit(plain.query_targets @ wide),
        item_states=unit(plain.item_targets @ wide),
    )
    settings = DistillSettings(batch=8, ranking_items=6, hidden_weight=1.0)
    student = tiny_student()
    both = with_hidden_map(student, 24)

    def nearness():
        return (unit(both(plain.query_ids)[1].numpy()) * data.query_states).sum(axis=1).mean()

    before, table = nearness(), student.get_layer("word").embeddings.numpy()
    batches = distillation_batches(data, settings, seed=0, hidden=True)
    fit(both, distillation_loss(both, settings), batches, FitSettings(60, 1e-2), checkpoint_folder=tmp_path)
    assert nearness() > before + 0.3
    assert not np.array_equal(table, student.get_layer("word").embeddings.numpy())
    assert both(plain.query_ids)[0].numpy() == pytest.approx(student(plain.query_ids).numpy())


def test_each_weight_weighs_its_own_part():
    data, settings = tiny_distillation_set(), {"ranking_weight": 0.0, "vector_weight": 0.0, "hidden_weight": 0.0}
    random = np.random.default_rng(5)
    raw = 4 * unit(random.standard_normal((len(data.query_ids), DIM)))
    state = random.standard_normal((len(data.query_ids), 6)).astype(np.float32)
    states = unit(random.standard_normal(state.shape))

    def both(ids, training):
        return [tf.constant(raw), tf.constant(state)]

    def loss(**changes):
        found = distillation_loss(both, DistillSettings(**{**settings, **changes}))
        return float(found(None, data.query_targets, data.item_targets, {"states": tf.constant(states)}))

    assert loss() == pytest.approx(0.0, abs=1e-5)
    assert loss(vector_weight=2.0) == pytest.approx(2 * (1 - (unit(raw) * data.query_targets).sum(1)).mean(), rel=1e-4)
    assert loss(hidden_weight=3.0) == pytest.approx(3 * (1 - (unit(state) * states).sum(1)).mean(), rel=1e-4)


@pytest.mark.parametrize("name", ["vector_weight", "hidden_weight", "ranking_weight", "adversary"])
def test_weights_below_zero_are_refused(name):
    with pytest.raises(ValueError, match=rf"{name} is -1\.0, expected 0 or more"):
        DistillSettings(**{name: -1.0})
