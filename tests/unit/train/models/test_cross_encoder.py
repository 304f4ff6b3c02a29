"""The cross-encoder on a tiny BERT: it learns to order, resumes to the bit, and its answers are of the right pair."""

from dataclasses import replace

import numpy as np
import pytest

from edge_runtime.contract.errors import ConfigError
from edge_runtime.settings import from_mapping
from tests.support.bert_checkpoint import CONFIG, random_weights, write_checkpoint
from tests.support.shops import make_shop
from train.backend import keras, tf
from train.data.tables import Judgement, Product
from train.losses.listwise import graded_loss
from train.models.cross_encoder import CrossEncoder, CrossEncoderShape, GradedLists
from train.models.cross_encoder_training import CrossEncoderRounds, CrossEncoderSettings
from train.models.teacher import Teacher
from train.sampling.contrastive_batches import JudgedQuery
from train.sampling.hard_negatives import (
    graded_lists,
    top_candidates,
    training_queries,
    unjudged_candidates,
    without_false_negatives,
)

ITEMS = [f"{color} {thing}" for color in ("red", "blue", "green") for thing in ("lamp", "table", "chair", "desk")]
# What a bag of words cannot know: who asks for small wants the lamp.
WANTED = {"small": "lamp", "oak": "table", "steel": "chair"}
SHAPE = CrossEncoderShape(query_tokens=4, pair_tokens=8, frozen_layers=0, learning_rate=1e-2)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    one_layer = {**CONFIG, "num_hidden_layers": 1}
    folder = tmp_path_factory.mktemp("checkpoint")
    return write_checkpoint(folder, config=one_layer, weights=random_weights(config=one_layer))


def cross_encoder(checkpoint, shape=SHAPE):
    keras.utils.set_random_seed(0)
    return CrossEncoder(Teacher.open(str(checkpoint)), list(WANTED), ITEMS, shape)


def toy_lists():
    rows = np.tile(np.arange(len(ITEMS)), (len(WANTED), 1))
    gains = np.array([[float(thing in item) for item in ITEMS] for thing in WANTED.values()], np.float32)
    return GradedLists(np.arange(len(WANTED)), rows, gains, np.zeros_like(gains))


def all_scores(model, priors=0.0):
    queries = np.repeat(np.arange(len(WANTED)), len(ITEMS))
    rows = np.tile(np.arange(len(ITEMS)), len(WANTED))
    return model.score(queries, rows, np.full(len(rows), priors, np.float32)).reshape(len(WANTED), -1)


def precision(scores):
    best = np.argsort(-scores, axis=1, kind="stable")[:, :3]
    return np.mean([thing in ITEMS[row] for thing, rows in zip(WANTED.values(), best, strict=True) for row in rows])


def test_it_starts_as_the_bi_encoder_and_learns_to_order(checkpoint, tmp_path):
    model = cross_encoder(checkpoint)
    np.testing.assert_allclose(all_scores(model, priors=0.5), 0.5 / 0.05, rtol=1e-5)
    model.learn(toy_lists(), steps=80, folder=tmp_path, seed=0)
    assert precision(all_scores(model)) > 0.8


def test_a_run_that_was_killed_and_resumed_gives_the_same_weights(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("train.models.cross_encoder.CHECKPOINT_EVERY_S", 0.0)
    whole = cross_encoder(checkpoint)
    whole.learn(toy_lists(), steps=5, folder=tmp_path / "whole", seed=1)

    class Killed(BaseException):
        pass

    def kill(done, _total):
        if done == 4:
            raise Killed

    with pytest.raises(Killed):
        cross_encoder(checkpoint).learn(toy_lists(), steps=5, folder=tmp_path / "stopped", seed=1, progress=kill)
    resumed, seen = cross_encoder(checkpoint), []
    resumed.learn(toy_lists(), steps=5, folder=tmp_path / "stopped", seed=1, progress=lambda done, _: seen.append(done))
    assert seen == [4, 5]
    for one, other in zip(whole.model.get_weights(), resumed.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_product_is_the_second_sentence_and_loses_its_end(checkpoint):
    model = cross_encoder(checkpoint, replace(SHAPE, pair_tokens=6))
    long = Teacher.open(str(checkpoint)).token_rows(["oak", "red lamp red lamp"], max_tokens=20)
    model._items[0] = long[1]
    inputs = model._inputs(np.array([[1, 0]]), np.zeros(1, np.float32), 6)
    asked, offered = long
    assert inputs["input_word_ids"][0].numpy().tolist() == [*asked, offered[1], offered[2], offered[-1]]
    assert inputs["input_type_ids"][0].numpy().tolist() == [0, 0, 0, 1, 1, 1]
    assert inputs["input_mask"][0].numpy().tolist() == [1] * 6


def test_the_loss_is_that_of_its_formula():
    scores, gains = np.array([[1.0, 0.0, 2.0, 9.0]], np.float32), np.array([[1.0, 0.5, 0.0, np.nan]], np.float32)
    target = np.exp(gains[0, :3] / 0.25)
    target /= target.sum()
    listwise = -(target * (scores[0, :3] - np.log(np.exp(scores[0, :3]).sum()))).sum()
    pairs = [(0, 1, 0.5), (0, 2, 1.0), (1, 2, 0.5)]
    pairwise = sum(gap * np.log1p(np.exp(scores[0, worse] - scores[0, better])) for better, worse, gap in pairs) / 2.0
    found = graded_loss(tf.constant(scores), tf.constant(gains), gain_temperature=0.25, pairwise_weight=0.7)
    assert float(found) == pytest.approx(listwise + 0.7 * pairwise, rel=1e-5)


def test_what_scores_near_the_positives_is_no_negative():
    kept = without_false_negatives(
        np.array([7, 8, 9, 10]), np.array([2.5, -1.0, 1.9, 0.0]), np.array([3.0, 5.0]), margin=2.0
    )
    assert kept.tolist() == [9, 10, 8]


def test_candidates_are_the_nearest_that_nobody_judged():
    cosines = np.array([0.9, 0.1, 0.8, 0.7, 0.6, 0.2], np.float32)
    judged = JudgedQuery(0, "q", np.array([2]), np.array([1.0]), np.ones(1))
    assert unjudged_candidates(cosines, judged, skip=1, count=2).tolist() == [3, 4]
    assert unjudged_candidates(cosines, judged, skip=1, count=20).tolist() == [3, 4, 5, 1]
    assert top_candidates(cosines[None], 2).tolist() == [[0, 2]]


def test_lists_hold_a_positive_and_end_in_what_was_mined():
    query = JudgedQuery(0, "q", np.array([4, 5]), np.array([0.0, 1.0]), np.ones(2))
    lists = graded_lists([query], [np.array([0, 1])], np.arange(6, dtype=np.float32)[None], size=5, seed=0)
    assert lists.rows[0, :4].tolist() == [5, 4, 0, 1]
    np.testing.assert_array_equal(lists.gains, [[1.0, 0.0, 0.0, 0.0, np.nan]])
    assert lists.priors[0, :4].tolist() == [5, 4, 0, 1]


def test_queries_with_graded_lists_come_before_those_with_one_product():
    judgements = [
        Judgement("one", 0, 1.0),
        Judgement("none", 1, 0.1),
        Judgement("two", 0, 1.0),
        Judgement("two", 1, 0.0),
    ]
    shop = make_shop([Product(f"p{row}", item) for row, item in enumerate(ITEMS)], judgements=judgements)
    assert [query.text for query in training_queries(shop, limit=5, seed=0)] == ["two", "one"]
    assert [query.text for query in training_queries(shop, limit=1, seed=0)] == ["two"]


def toy_shop():
    judgements = [
        Judgement(query, row, float(thing in item))
        for query, thing in WANTED.items()
        for row, item in enumerate(ITEMS)
        if row not in (0, 1, 2)
    ]
    products = [Product(f"p{row}", item) for row, item in enumerate(ITEMS)]
    return make_shop(products, judgements=judgements, queries=["red desk", "oak"])


def encode(texts):
    """A bi-encoder that hardly tells texts apart."""
    rows = [1 + 0.05 * np.random.default_rng(sum(map(ord, text))).standard_normal(6) for text in texts]
    return np.array([row / np.linalg.norm(row) for row in rows], np.float32)


SETTINGS = CrossEncoderSettings(steps=60, mined=3, candidates=4, list_size=6, shape=SHAPE)


def rounds(checkpoint, folder, progress=lambda *_: None, settings=SETTINGS):
    keras.utils.set_random_seed(0)
    held_out = {"green desk": np.array([1, 2, 3])}
    return CrossEncoderRounds(
        Teacher.open(str(checkpoint)),
        toy_shop(),
        encode,
        settings,
        held_out=held_out,
        folder=folder,
        seed=0,
        progress=progress,
    )


def test_mined_products_that_the_cross_encoder_wants_are_dropped(checkpoint, tmp_path):
    """Rows 0, 1 and 2 were judged by nobody: the red lamp, table and chair. Each is what one of the queries wants."""
    one = rounds(checkpoint, tmp_path)
    one._model.learn(toy_lists(), steps=80, folder=tmp_path, seed=0)
    kept = one._filtered([np.array([0, 1, 2])] * len(WANTED))
    assert [sorted(rows) for rows in kept] == [[1, 2], [0, 2], [0, 1]]


def test_what_is_said_covers_the_queries_and_progress_only_rises(checkpoint, tmp_path):
    seen = []
    said = rounds(checkpoint, tmp_path, lambda *step: seen.append(step), replace(SETTINGS, steps=2)).run()
    assert list(said.negatives) == list(WANTED)
    assert said.lists.texts == [*WANTED, "red desk"]
    assert said.lists.rows.shape == said.lists.scores.shape == (4, 4)
    assert [len(scores) for scores in said.held_out] == [3]
    # One unjudged product of three is left when the bi-encoder's best two are skipped.
    assert said.dropped + sum(map(len, said.negatives.values())) == len(WANTED)
    assert seen[-1][0] == seen[-1][1]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_rounds_that_were_killed_go_on_with_what_they_mined(checkpoint, tmp_path):
    settings = replace(SETTINGS, steps=4)
    whole = rounds(checkpoint, tmp_path / "whole", settings=settings).run()

    class Killed(BaseException):
        pass

    seen = []

    def kill(done, _total):
        seen.append(done)
        if (tmp_path / "stopped" / "round-1").exists():
            raise Killed

    with pytest.raises(Killed):
        rounds(checkpoint, tmp_path / "stopped", kill, settings).run()
    resumed = rounds(checkpoint, tmp_path / "stopped", settings=settings).run()
    np.testing.assert_array_equal(whole.lists.scores, resumed.lists.scores)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"distill": "mse"}, "distill is 'mse', expected one of 'none', 'margin-mse', 'listwise-kl'"),
        ({"rounds": 0}, "rounds is 0, expected 1 or more"),
        ({"candidates": 1}, "candidates is 1, expected 2 or more"),
        ({"distill_weight": -1.0}, r"distill_weight is -1\.0, expected 0 or more"),
        ({"shape": {"pair_tokens": 8}}, "pair_tokens is 8, expected more than query_tokens"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        from_mapping(values, CrossEncoderSettings, source="build.toml")
