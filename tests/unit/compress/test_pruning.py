import numpy as np
import pytest

from compress.pruning import PruneSettings, kernel_sparsity, strip, with_pruning
from tests.support.tiny_student import random_ids, tiny_distillation_set, tiny_student
from train.backend import keras
from train.distill import DistillSettings, distillation_batches, distillation_loss
from train.fit import FitSettings, fit

DISTILL = DistillSettings(batch=8, ranking_items=6)
PRUNE = PruneSettings(sparsity=0.6, steps=12, learning_rate=1e-3)


class Stop(RuntimeError):
    pass


def stop_at(wanted):
    def progress(done, _total):
        if done == wanted:
            raise Stop

    return progress


def pruned(folder, *, progress=None, checkpoint_every_s=30.0):
    keras.utils.set_random_seed(0)
    wrapped, after_step = with_pruning(tiny_student(), PRUNE)
    fit(
        wrapped,
        distillation_loss(wrapped, DISTILL),
        distillation_batches(tiny_distillation_set(), DISTILL, seed=0),
        FitSettings(PRUNE.steps, PRUNE.learning_rate, checkpoint_every_s=checkpoint_every_s),
        checkpoint_folder=folder,
        progress=progress,
        after_step=after_step,
    )
    return strip(wrapped)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return pruned(tmp_path_factory.mktemp("through"))


def test_wrapping_changes_no_output():
    student = tiny_student()
    wrapped, _ = with_pruning(student, PRUNE)
    ids = random_ids(3, 8)
    np.testing.assert_allclose(wrapped(ids, training=False).numpy(), student(ids).numpy(), atol=1e-6)


def test_every_kernel_reaches_the_wanted_sparsity_however_few_the_steps(model):
    sparsity = kernel_sparsity(model)
    assert {"block0_query", "block0_inner", "projection"} <= set(sparsity)
    for share in sparsity.values():
        assert share == pytest.approx(0.6, abs=0.01)


def test_stripping_leaves_plain_layers_with_the_names_of_the_student(model):
    assert [layer.name for layer in model.layers] == [layer.name for layer in tiny_student().layers]
    assert [variable.shape for variable in model.variables] == [variable.shape for variable in tiny_student().variables]


def test_only_kernels_are_pruned(model):
    assert (model.get_layer("word").embeddings.numpy() != 0).all()
    assert (model.get_layer("position").position.numpy() != 0).all()


def test_a_stopped_and_resumed_pruning_gives_the_same_weights(model, tmp_path):
    with pytest.raises(Stop):
        pruned(tmp_path, progress=stop_at(8), checkpoint_every_s=0.0)
    for through, resumed in zip(model.get_weights(), pruned(tmp_path).get_weights(), strict=True):
        np.testing.assert_array_equal(through, resumed)
