"""Clicks of people whose preferences are known: what is tuned nears the truth, and chance does not pass the gates."""

from types import SimpleNamespace

import numpy as np
import pytest

from pocketrec.pipeline.retrain import _failed_gates, click_targets
from pocketrec.pipeline.settings import GateSettings
from tests.support.feedback_logs import (
    PRODUCTS,
    QUERIES,
    attractions,
    rankings,
    simulated_log,
    true_value,
)
from tests.support.tiny_student import unit
from train.backend import keras, make_reproducible
from train.clicks.click_model import Attractions, ClickSettings, estimate_attractions, estimate_position_bias
from train.clicks.off_policy import compare_off_policy
from train.clicks.ranknet_tuning import FrozenTable, TuneSettings, tuning_batches, tuning_loss
from train.errors import EmptyDatasetError
from train.loop import FitSettings, fit

DIM, OTHERS = 16, 8
CLICKS = ClickSettings()
TUNE = TuneSettings(steps=120, batch=16, learning_rate=1e-2)
SHOP = SimpleNamespace(products=[SimpleNamespace(product_id=f"p{row:02d}") for row in range(PRODUCTS)])


COSINES = {"p00": 0.6, "p01": 0.2}
WORDS = {"p00": 0.1, "p01": 0.3}


class KnownScores:
    """A recommender that gives two products the same cosines and words for any query."""

    def __init__(self, dense_weight):
        self.bundle = SimpleNamespace(manifest=SimpleNamespace(fusion=SimpleNamespace(dense_weight=dense_weight)))
        self.dense_weight = dense_weight

    def search(self, query, *, k, mode):
        assert (k, mode) == (1, "dense")
        return SimpleNamespace(product_ids=["p00"])

    def score_parts(self, query, ids):
        return np.array([COSINES[one] for one in ids], np.float32), np.zeros(len(ids), np.float32)

    def score(self, query, ids, *, mode="hybrid"):
        cosines, _ = self.score_parts(query, ids)
        if mode == "dense":
            return cosines
        words = np.array([WORDS[one] for one in ids], np.float32)
        return self.dense_weight * (cosines + 1.0) / 1.6 + words


def query_ids(texts):
    """Return the number of the query, after the padding's: [texts, 1]."""
    return np.array([[int(text.removeprefix("q")) + 1] for text in texts], np.int32)


def told_of(*rows):
    query, product, attraction = zip(*rows, strict=True)
    return Attractions(np.array(query, np.int32), np.array(product, np.int32), np.array(attraction), np.ones(len(rows)))


def test_targets_are_those_computed_by_hand():
    log = SimpleNamespace(queries=("q0", "q1", "q2"), products=("p01", "p00", "sold out"))
    # q0 has two products that are sold, q1 one of two, q2 one.
    told = told_of((0, 0, 0.25), (0, 1, 0.5), (1, 0, 0.5), (1, 2, 0.75), (2, 1, 0.5))
    found = click_targets(told, log, SHOP, KnownScores(0.8), query_ids)
    assert found.query_ids.tolist() == [[1]]
    assert found.items[0, :2].tolist() == [0, 1] and found.targets[0, :2].tolist() == [0.5, 0.25]
    assert found.mask.sum() == 2 and found.mask[0, :2].tolist() == [1, 1]
    # 0.8 (cosine + 1) / 1.6 + words, in units of a cosine: words / 0.5.
    assert found.offsets[0, :2] == pytest.approx([0.2, 0.6], abs=1e-6)
    assert click_targets(told, log, SHOP, KnownScores(0.0), query_ids).offsets.sum() == 0.0
    with pytest.raises(EmptyDatasetError, match="two products"):
        click_targets(told_of((1, 0, 0.5), (1, 2, 0.75)), log, SHOP, KnownScores(0.8), query_ids)


class TinyEncoder:
    """Queries by a frozen word and a layer that may learn, products by fixed vectors."""

    def __init__(self):
        make_reproducible(1)
        ids = keras.Input((1,), dtype="int32")
        words = keras.layers.Embedding(QUERIES + OTHERS + 1, DIM, name="word")(ids)
        self.model = keras.Model(ids, keras.layers.Dense(DIM)(keras.layers.Flatten()(words)))
        self.items = unit(np.random.default_rng(3).standard_normal((PRODUCTS, DIM)))
        self.other_ids = np.arange(QUERIES + 1, QUERIES + OTHERS + 1, dtype=np.int32)[:, None]

    def vectors(self, ids):
        return unit(self.model(ids, training=False).numpy())

    def rankings(self):
        return rankings(self.vectors(np.arange(1, QUERIES + 1, dtype=np.int32)[:, None]) @ self.items.T)

    def tune(self, log, folder):
        """Learn from a log as retraining does."""
        told = estimate_attractions(log, estimate_position_bias(log, CLICKS), CLICKS)
        targets = click_targets(told, log, SHOP, KnownScores(0.0), query_ids)
        old = self.vectors(self.other_ids)
        batches = tuning_batches(targets, self.other_ids, old, TUNE, seed=0)
        loss = tuning_loss(self.model, self.items, TUNE)
        fit(
            FrozenTable(self.model),
            loss,
            batches,
            FitSettings(TUNE.steps, TUNE.learning_rate),
            checkpoint_folder=folder,
        )
        return float(np.mean(np.sum(self.vectors(self.other_ids) * old, axis=1)))


def failed_gates(truth, before, after, gate):
    """Return what the gates say of `after` by devices that did not teach it."""
    judging = simulated_log(truth, before, lists=4_000, seed=1)
    return _failed_gates(
        compare_off_policy(judging, before, after, settings=CLICKS, resamples=60), None, None, 0.0, gate
    )


def test_clicks_move_the_ranking_towards_what_people_want_and_pass_the_gate(tmp_path):
    encoder, truth = TinyEncoder(), attractions()
    before, words = encoder.rankings(), encoder.model.get_layer("word").get_weights()[0]
    kept = encoder.tune(simulated_log(truth, before, lists=4_000), tmp_path)
    after = encoder.rankings()
    best = true_value(truth, rankings(truth))
    was, now = true_value(truth, before), true_value(truth, after)
    assert now - was > 0.25 * (best - was), (was, now, best)
    assert failed_gates(truth, before, after, GateSettings()) == []
    np.testing.assert_array_equal(encoder.model.get_layer("word").get_weights()[0], words)
    assert kept > 0.8, "other texts stay near where they were"


def test_random_clicks_do_not_pass_the_gate(tmp_path):
    encoder, chance = TinyEncoder(), np.full((QUERIES, PRODUCTS), 0.3)
    before = encoder.rankings()
    encoder.tune(simulated_log(chance, before, lists=4_000), tmp_path)
    after = encoder.rankings()
    assert after != before, "the encoder followed the noise"
    assert [line[:8] for line in failed_gates(chance, before, after, GateSettings())] == ["the gain"]


def test_each_gate_tells_its_own_failure():
    truth = attractions()
    base = rankings(truth + np.random.default_rng(1).normal(0, 0.3, truth.shape))
    better = {query: [one for one in ranked if one in base[query][:10]] for query, ranked in rankings(truth).items()}
    log = simulated_log(truth, base, lists=4_000)
    verdict = compare_off_policy(log, base, better, settings=CLICKS, resamples=60)
    gate = GateSettings()
    assert _failed_gates(verdict, 0.5, 0.49, 0.05, gate) == []
    holdout, delta = _failed_gates(verdict, 0.5, 0.47, 0.06, gate)
    assert holdout.startswith("re-rank nDCG@10 on held-out queries fell") and delta.startswith("the delta is 6.0%")
