from dataclasses import replace

import numpy as np
import pytest

from edge_runtime.contract.errors import ConfigError
from edge_runtime.settings import from_mapping
from tests.support.bert_checkpoint import CONFIG, random_weights, write_checkpoint
from tests.support.shops import make_shop
from train import fine_tuning
from train.data.tables import Basket, Judgement, Product
from train.errors import DivergedError
from train.fine_tuning import TeacherSettings, batch_shape, fine_tune, steps_of
from train.models.teacher import Teacher
from train.sampling.contrastive_batches import ContrastiveBatches

COLORS, THINGS = ("red", "blue", "green"), ("lamp", "table", "chair", "desk")
TITLES = [f"{color} {thing}" for color in COLORS for thing in THINGS]
# What no BERT can know: the wanted lamp for "small" is the large one.
WANTED = {"small": "lamp", "oak": "table", "steel": "chair"}
SETTINGS = TeacherSettings(
    steps=12, learning_rate=3e-3, items_per_step=8, list_size=4, negatives=2, query_tokens=8, item_tokens=8
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    one_layer = {**CONFIG, "num_hidden_layers": 1}
    folder = tmp_path_factory.mktemp("checkpoint")
    return write_checkpoint(folder, config=one_layer, weights=random_weights(config=one_layer))


def judged_shop(baskets=True):
    judgements = [
        Judgement(query, row, 1.0 if thing in title else 0.0)
        for query, thing in WANTED.items()
        for row, title in enumerate(TITLES)
    ]
    rows = [Basket(float(n), np.array([n, n + 4, n + 8], np.int32)) for n in range(4)]
    return make_shop(
        [Product(f"p{row}", title) for row, title in enumerate(TITLES)],
        judgements=judgements,
        baskets={"u": tuple(rows)} if baskets else {},
    )


def weights_of(teacher):
    return [variable.numpy() for variable in teacher.model.variables]


def test_teacher_learns_what_the_shop_says(checkpoint, tmp_path):
    teacher, shop = Teacher.open(str(checkpoint)), judged_shop()

    def precision():
        ranked = np.argsort(-teacher.encode(list(WANTED)) @ teacher.encode(TITLES).T, axis=1)[:, :3]
        return np.mean(
            [thing in TITLES[row] for thing, rows in zip(WANTED.values(), ranked, strict=True) for row in rows]
        )

    assert precision() < 0.5
    settings = replace(SETTINGS, steps=100, learning_rate=1e-2, freeze_embeddings=False)
    result = fine_tune(teacher, shop, settings, checkpoint_folder=tmp_path)
    assert precision() > 0.8
    assert (result.steps, result.lists, result.pairs, result.baskets) == (100, 3, 3, 4)
    assert result.catalogue == 2 * len(TITLES)
    assert result.loss is not None
    assert "100 steps" in result.summary


def test_stopped_and_resumed_run_gives_the_weights_of_one_that_was_not(checkpoint, tmp_path):
    shop, settings = judged_shop(), replace(SETTINGS, checkpoint_every_s=0.0)
    whole = Teacher.open(str(checkpoint))
    fine_tune(whole, shop, settings, checkpoint_folder=tmp_path / "whole", seed=2)

    class Killed(BaseException):
        pass

    def kill(done, _total):
        if done == 7:
            raise Killed

    stopped = Teacher.open(str(checkpoint))
    with pytest.raises(Killed):
        fine_tune(stopped, shop, settings, checkpoint_folder=tmp_path / "stopped", seed=2, progress=kill)
    resumed, seen = Teacher.open(str(checkpoint)), []
    fine_tune(
        resumed,
        shop,
        settings,
        checkpoint_folder=tmp_path / "stopped",
        seed=2,
        progress=lambda done, _: seen.append(done),
    )
    assert seen[0] == 7  # step 7 was done but not yet in the checkpoint
    for expected, found in zip(weights_of(whole), weights_of(resumed), strict=True):
        np.testing.assert_array_equal(expected, found)


def test_finished_run_is_not_run_again(checkpoint, tmp_path):
    shop, settings = judged_shop(), replace(SETTINGS, steps=2)
    first = Teacher.open(str(checkpoint))
    fine_tune(first, shop, settings, checkpoint_folder=tmp_path)
    second, seen = Teacher.open(str(checkpoint)), []
    result = fine_tune(second, shop, settings, checkpoint_folder=tmp_path, progress=lambda *_: seen.append(1))
    assert seen == []
    assert result.steps == 2
    for expected, found in zip(weights_of(first), weights_of(second), strict=True):
        np.testing.assert_array_equal(expected, found)


def test_embeddings_stay_unless_told_otherwise(checkpoint, tmp_path):
    for frozen in (True, False):
        teacher = Teacher.open(str(checkpoint))
        before = teacher.token_embeddings().copy()
        settings = replace(SETTINGS, steps=2, freeze_embeddings=frozen)
        fine_tune(teacher, judged_shop(), settings, checkpoint_folder=tmp_path / str(frozen))
        assert np.array_equal(before, teacher.token_embeddings()) == frozen


@pytest.mark.parametrize(
    ("shop", "settings", "reason"),
    [
        (make_shop([Product("p", "red lamp")]), SETTINGS, "nothing to learn"),
        (judged_shop(), replace(SETTINGS, steps=0), "0 steps"),
        (judged_shop(baskets=False), replace(SETTINGS, lists=False, pairs=False, catalogue=False), "nothing to learn"),
    ],
)
def test_without_evidence_or_steps_the_teacher_stays_as_it_is(checkpoint, tmp_path, shop, settings, reason):
    teacher = Teacher.open(str(checkpoint))
    before = weights_of(teacher)
    result = fine_tune(teacher, shop, settings, checkpoint_folder=tmp_path / "run")
    assert (result.steps, result.loss) == (0, None)
    assert reason in result.summary
    assert not (tmp_path / "run").exists()
    for expected, found in zip(before, weights_of(teacher), strict=True):
        np.testing.assert_array_equal(expected, found)


def test_diverging_run_is_an_error_of_ours(checkpoint, tmp_path):
    teacher = Teacher.open(str(checkpoint))
    kernel = next(variable for variable in teacher.model.trainable_variables if "kernel" in variable.name)
    kernel.assign(kernel * np.float32(np.nan))
    with pytest.raises(DivergedError, match="the loss became nan"):
        fine_tune(teacher, judged_shop(), SETTINGS, checkpoint_folder=tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"query_tokens": 2}, "query_tokens is 2, expected 3 or more"),
        ({"list_size": 1}, "list_size is 1, expected 2 or more"),
        ({"temperature": 0.0}, r"temperature is 0\.0, expected more than 0"),
        ({"adversary": -1.0}, r"adversary is -1\.0, expected 0 or more"),
        ({"learning_rate": float("nan")}, "learning_rate is nan, expected more than 0"),
    ],
)
def test_settings_with_which_no_step_can_be_made_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        from_mapping(values, TeacherSettings, source="build.toml")


def test_steps_follow_the_shop_up_to_the_limit():
    supervision = ContrastiveBatches(judged_shop(), batch_shape(SETTINGS))
    per_epoch = sum(supervision.batches_per_epoch().values())
    unset = replace(SETTINGS, steps=None)
    assert steps_of(supervision, replace(unset, epochs=3.0)) == 3 * per_epoch
    assert steps_of(supervision, replace(unset, epochs=1000.0)) == unset.max_steps
    assert steps_of(supervision, replace(SETTINGS, steps=7)) == 7


def test_steps_of_all_kinds_encode_about_as_many_tokens():
    shape = batch_shape(TeacherSettings())
    assert (shape.lists, shape.pairs, shape.baskets) == (2, 32, 24)


def test_loss_is_cross_entropy_over_what_is_not_hidden():
    tf = fine_tuning.tf
    table = tf.constant([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])

    def model(inputs, training):
        assert not training
        return tf.gather(table, inputs["input_word_ids"][:, 0]) * 3.0

    left, right = tf.constant([[1, -1]]), tf.constant([[1, -1], [2, -1], [3, 3]])
    targets, weights = tf.constant([[0.75, 0.25, 0.0]]), tf.constant([2.0])
    loss = fine_tuning._loss(model, 0.5)

    def value(hidden, both_ways):
        return float(loss(left, right, targets, tf.constant([hidden]), weights, tf.constant(both_ways)))

    logits = np.array([1.0, 0.0, 0.6]) / 0.5
    seen = np.log(np.exp(logits) / np.exp(logits).sum())
    assert value([False, False, False], 0.0) == pytest.approx(-2 * (0.75 * seen[0] + 0.25 * seen[1]), rel=1e-5)
    seen = np.log(np.exp(logits[:2]) / np.exp(logits[:2]).sum())
    forward = -2 * (0.75 * seen[0] + 0.25 * seen[1])
    assert value([False, False, True], 0.0) == pytest.approx(forward, rel=1e-5)
    # One left text: the other direction has nothing to tell apart and costs nothing.
    assert value([False, False, True], 1.0) == pytest.approx(forward / 2, rel=1e-5)


def test_the_adversary_changes_what_is_learned_and_not_the_frozen_table(checkpoint, tmp_path):
    learned = []
    for radius in (0.0, 1.0):
        teacher = Teacher.open(str(checkpoint))
        before = teacher.token_embeddings().copy()
        settings = replace(SETTINGS, steps=2, adversary=radius)
        fine_tune(teacher, judged_shop(), settings, checkpoint_folder=tmp_path / str(radius))
        np.testing.assert_array_equal(before, teacher.token_embeddings())
        learned.append(weights_of(teacher))
    assert any(not np.array_equal(one, other) for one, other in zip(*learned, strict=True))
