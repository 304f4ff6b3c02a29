import math

import numpy as np
import pytest

from edge_runtime.contract.errors import StorageError
from tests.support.stopped_training import Stop, stop_at
from train.backend import keras, tf
from train.checkpoints import has_checkpoint
from train.errors import DivergedError
from train.loop import Adversary, FitSettings, fit, learning_gradients

SETTINGS = FitSettings(steps=6, learning_rate=0.05)
DATA = np.random.default_rng(0).standard_normal((64, 4)).astype(np.float32)


def small_model(seed=0):
    keras.utils.set_random_seed(seed)
    # Normalization has weights that training moves without a gradient: a checkpoint must hold them too.
    return keras.Sequential(
        [keras.layers.Input((4,)), keras.layers.Dense(3), keras.layers.BatchNormalization(), keras.layers.Dense(1)]
    )


def batches(step):
    rows = np.random.default_rng(step).integers(0, len(DATA), 8)
    return tf.constant(DATA[rows]), tf.constant(DATA[rows].sum(axis=1, keepdims=True))


def loss_of(model):
    return lambda x, y: tf.reduce_mean(tf.square(model(x, training=True) - y))


def train(model, folder, settings=SETTINGS, **options):
    return fit(model, loss_of(model), batches, settings, checkpoint_folder=folder, **options)


def assert_same_weights(one, other):
    for first, second in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_the_loss_falls(tmp_path):
    model = small_model()
    before = float(loss_of(model)(*batches(99)))
    assert train(model, tmp_path, FitSettings(steps=60, learning_rate=0.05)) < before / 2


def test_the_same_run_gives_the_same_weights(tmp_path):
    one, other = small_model(), small_model()
    assert train(one, tmp_path / "one") == train(other, tmp_path / "other")
    assert_same_weights(one, other)


def test_a_stopped_and_resumed_run_gives_the_weights_of_one_that_went_through(tmp_path):
    through, stopped, resumed = small_model(), small_model(), small_model(seed=9)
    train(through, tmp_path / "through")
    eager = FitSettings(steps=6, learning_rate=0.05, checkpoint_every_s=0.0)
    with pytest.raises(Stop):
        train(stopped, tmp_path / "run", eager, progress=stop_at(4))
    steps = []
    train(resumed, tmp_path / "run", progress=lambda done, _total: steps.append(done))
    assert steps == [4, 5, 6]
    assert_same_weights(through, resumed)


def test_a_run_that_is_done_already_changes_nothing_and_still_knows_a_loss(tmp_path):
    model, again = small_model(), small_model(seed=9)
    train(model, tmp_path)
    loss = train(again, tmp_path, progress=stop_at(1))
    assert math.isfinite(loss)
    assert_same_weights(model, again)


def test_no_step_changes_nothing_and_still_knows_a_loss(tmp_path):
    model = small_model()
    before = model.get_weights()
    assert math.isfinite(train(model, tmp_path, FitSettings(steps=0, learning_rate=0.1)))
    for first, second in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_named_with_its_step(tmp_path, value):
    model = small_model()

    def broken(x, y):
        return loss_of(model)(x, y) * value

    with pytest.raises(DivergedError, match=f"the loss became {value} at step 0; lower learning_rate"):
        fit(model, broken, batches, SETTINGS, checkpoint_folder=tmp_path)
    assert not has_checkpoint(tmp_path)


def test_progress_and_after_step_are_called_for_each_step(tmp_path):
    finished, shown = [], []
    train(small_model(), tmp_path, after_step=finished.append, progress=lambda *step: shown.append(step))
    assert finished == [1, 2, 3, 4, 5, 6]
    assert shown == [(step, 6) for step in finished]


def test_the_learning_rate_warms_up_and_cools_down(tmp_path, monkeypatch):
    rates = []

    class Recording(keras.optimizers.Adam):
        def apply_gradients(self, pairs):
            tf.py_function(lambda rate: rates.append(float(rate)), [self.learning_rate], [])
            return super().apply_gradients(pairs)

    monkeypatch.setattr("train.loop.keras.optimizers.Adam", Recording)
    train(small_model(), tmp_path, FitSettings(steps=10, learning_rate=0.1, warm_up=0.2))
    assert rates[:2] == pytest.approx([0.05, 0.1])
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[2] == pytest.approx(0.1)
    assert 0 < rates[-1] < 0.02


def test_weight_decay_shrinks_kernels_only(tmp_path):
    plain, decayed = small_model(), small_model()

    def no_gradient(model):
        return lambda x, y: tf.add_n([0.0 * tf.reduce_sum(variable) for variable in model.trainable_variables])

    for model, decay in ((plain, 0.0), (decayed, 0.5)):
        settings = FitSettings(steps=1, learning_rate=0.1, weight_decay=decay)
        fit(model, no_gradient(model), batches, settings, checkpoint_folder=tmp_path / str(decay))
    for before, after in zip(plain.variables, decayed.variables, strict=True):
        factor = 1 - 0.5 * 0.1 if "kernel" in before.name else 1.0
        np.testing.assert_allclose(after.numpy(), before.numpy() * factor, rtol=1e-6)


def test_a_full_disk_is_an_error_of_ours(tmp_path, monkeypatch):
    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edge_runtime.contract.atomic_files.os.fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        train(small_model(), tmp_path)


def word_model():
    keras.utils.set_random_seed(0)
    ids = keras.Input((3,), dtype="int32")
    table = keras.layers.Embedding(5, 4, name="word")
    return keras.Model(ids, keras.layers.Dense(1)(keras.layers.Flatten()(table(ids)))), table


IDS, WANTED = tf.constant([[0, 1, 2], [2, 2, 3]]), tf.constant([[1.0], [-1.0]])


def test_the_adversary_adds_the_gradient_of_the_moved_table_and_puts_it_back():
    model, layer = word_model()
    loss = loss_of(model)
    start = layer.embeddings.numpy()

    def gradients(radius):
        adversary = Adversary(layer.embeddings, radius) if radius else None
        value, found = learning_gradients(loss, (IDS, WANTED), model.trainable_variables, adversary)
        return float(value), [tf.convert_to_tensor(one).numpy() for one in found]

    value, plain = gradients(0.0)
    attacked_value, attacked = gradients(0.5)
    np.testing.assert_array_equal(layer.embeddings.numpy(), start)
    assert attacked_value == pytest.approx(value)
    # By hand: the table moved by 0.5 along its own gradient, and the gradient taken there.
    layer.embeddings.assign(start + 0.5 * plain[0] / np.linalg.norm(plain[0]))
    worse, moved = gradients(0.0)
    assert worse > value
    for one, other, both in zip(plain, moved, attacked, strict=True):
        np.testing.assert_allclose(one + other, both, rtol=1e-4, atol=1e-5)


def test_the_adversary_moves_a_frozen_table_too_and_leaves_it_as_it_was(tmp_path):
    ends = []
    for radius in (None, 2.0):
        model, layer = word_model()
        layer.trainable = False
        start = layer.embeddings.numpy()
        adversary = None if radius is None else Adversary(layer.embeddings, radius)
        fit(
            model,
            loss_of(model),
            lambda _step: (IDS, WANTED),
            SETTINGS,
            checkpoint_folder=tmp_path / str(radius),
            adversary=adversary,
        )
        np.testing.assert_array_equal(layer.embeddings.numpy(), start)
        ends.append(model.get_weights()[1])
    assert not np.array_equal(*ends)
