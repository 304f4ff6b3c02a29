import numpy as np
import pytest

from edge_runtime.contract.errors import StorageError
from train.backend import keras, tf
from train.checkpoints import CHECKPOINT_FILE, TrainingCheckpoint
from train.errors import TrainingError


def small_run(seed, units=3):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(units), keras.layers.BatchNormalization()])
    optimizer = keras.optimizers.Adam(0.1)
    optimizer.build(model.trainable_variables)
    return model, optimizer


def learn(model, optimizer):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(tf.constant([[1.0, 2.0], [3.0, 5.0]]), training=True) - 1.0))
    optimizer.apply_gradients(
        zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True)
    )


def state(model, optimizer):
    return [variable.numpy() for variable in [*model.variables, *optimizer.variables]]


def test_without_a_checkpoint_training_starts_at_step_zero(tmp_path):
    model, optimizer = small_run(0)
    before = state(model, optimizer)
    assert TrainingCheckpoint(tmp_path / "none", model, optimizer).restore() == 0
    assert all(np.array_equal(a, b) for a, b in zip(before, state(model, optimizer), strict=True))
    assert not (tmp_path / "none").exists()


def test_restored_run_learns_as_if_it_had_never_stopped(tmp_path):
    model, optimizer = small_run(0)
    learn(model, optimizer)
    TrainingCheckpoint(tmp_path / "run", model, optimizer).save(1)
    learn(model, optimizer)
    other_model, other_optimizer = small_run(9)
    assert TrainingCheckpoint(tmp_path / "run", other_model, other_optimizer).restore() == 1
    learn(other_model, other_optimizer)
    for expected, found in zip(state(model, optimizer), state(other_model, other_optimizer), strict=True):
        np.testing.assert_array_equal(expected, found)


def test_later_checkpoint_replaces_the_earlier_and_leaves_no_other_file(tmp_path):
    checkpoint = TrainingCheckpoint(tmp_path, *small_run(0))
    checkpoint.save(1)
    checkpoint.save(7)
    assert checkpoint.restore() == 7
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT_FILE]


def test_checkpoint_of_another_shape_is_refused_and_changes_nothing(tmp_path):
    TrainingCheckpoint(tmp_path, *small_run(0, units=4)).save(3)
    model, optimizer = small_run(1)
    before = state(model, optimizer)
    with pytest.raises(TrainingError, match=r"another model: expected model\.0 of shape \(2, 3\), found \(2, 4\)"):
        TrainingCheckpoint(tmp_path, model, optimizer).restore()
    assert all(np.array_equal(a, b) for a, b in zip(before, state(model, optimizer), strict=True))


def test_checkpoint_with_more_variables_is_refused(tmp_path):
    model, optimizer = small_run(0)
    TrainingCheckpoint(tmp_path, model, optimizer).save(3)
    plain = keras.optimizers.SGD(0.1)
    plain.build(model.trainable_variables)
    with pytest.raises(TrainingError, match="another model"):
        TrainingCheckpoint(tmp_path, model, plain).restore()


def test_damaged_checkpoint_is_named(tmp_path):
    checkpoint = TrainingCheckpoint(tmp_path, *small_run(0))
    checkpoint.save(3)
    path = tmp_path / CHECKPOINT_FILE
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(TrainingError, match=r"checkpoint\.safetensors cannot be read .*remove it"):
        checkpoint.restore()


def test_folder_that_cannot_be_made_is_an_error_of_ours(tmp_path, monkeypatch):
    def refuse(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    with pytest.raises(StorageError, match="cannot write"):
        TrainingCheckpoint(tmp_path / "run", *small_run(0)).save(1)
