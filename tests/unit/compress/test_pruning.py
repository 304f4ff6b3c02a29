from dataclasses import replace

import numpy as np
import pytest

from compress.pruning import PruneSettings, kernel_sparsity, strip, with_pruning
from compress.quantization import quantize
from tests.support.stopped_training import Stop, stop_at
from tests.support.tiny_student import SETTINGS, random_ids, tiny_distillation_set, tiny_student
from train.backend import keras
from train.distillation import DistillSettings, distillation_batches
from train.loop import FitSettings, fit
from train.losses.distillation import distillation_loss

DISTILL = DistillSettings(batch=8, ranking_items=6)
PRUNE = PruneSettings(sparsity=0.6, steps=12, learning_rate=1e-3)


def tiny_bert():
    return tiny_student(replace(SETTINGS, architecture="bert"))


def pruned(folder, *, settings=PRUNE, progress=None, checkpoint_every_s=30.0):
    keras.utils.set_random_seed(0)
    wrapped, after_step = with_pruning(tiny_bert(), settings)
    fit(
        wrapped,
        distillation_loss(wrapped, DISTILL),
        distillation_batches(tiny_distillation_set(), DISTILL, seed=0),
        FitSettings(settings.steps, settings.learning_rate, checkpoint_every_s=checkpoint_every_s),
        checkpoint_folder=folder,
        progress=progress,
        after_step=after_step,
    )
    return strip(wrapped)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return pruned(tmp_path_factory.mktemp("through"))


def test_wrapping_changes_no_output():
    student = tiny_bert()
    wrapped, _ = with_pruning(student, PRUNE)
    ids = random_ids(3, 8)
    np.testing.assert_allclose(wrapped(ids, training=False).numpy(), student(ids).numpy(), atol=1e-6)


def test_every_kernel_reaches_the_wanted_sparsity_however_few_the_steps(model):
    sparsity = kernel_sparsity(model)
    assert {"block0_query", "block0_inner", "projection"} <= set(sparsity)
    for share in sparsity.values():
        assert share == pytest.approx(0.6, abs=0.03)


def test_stripping_leaves_plain_layers_with_the_names_of_the_student(model):
    assert [layer.name for layer in model.layers] == [layer.name for layer in tiny_bert().layers]
    assert [variable.shape for variable in model.variables] == [variable.shape for variable in tiny_bert().variables]


def test_only_kernels_are_pruned(model):
    assert (model.get_layer("word").embeddings.numpy()[1:] != 0).all()
    assert (model.get_layer("position").position.numpy() != 0).all()


def test_a_stopped_and_resumed_pruning_gives_the_same_weights(model, tmp_path):
    with pytest.raises(Stop):
        pruned(tmp_path, progress=stop_at(8), checkpoint_every_s=0.0)
    for through, resumed in zip(model.get_weights(), pruned(tmp_path).get_weights(), strict=True):
        np.testing.assert_array_equal(through, resumed)


def test_zeros_stay_zero_through_training_in_int8(model, tmp_path):
    quantized = quantize(model)
    fit(
        quantized,
        distillation_loss(quantized, DISTILL),
        distillation_batches(tiny_distillation_set(), DISTILL, seed=0),
        FitSettings(2, 1e-2),
        checkpoint_folder=tmp_path,
    )
    for layer in quantized.layers:
        if isinstance(getattr(layer, "layer", None), keras.layers.Dense):
            weights = {variable.name.split("/")[-1]: variable.numpy() for variable in layer.weights}
            before = model.get_layer(layer.layer.name).kernel.numpy()
            assert (weights["kernel_sparsity_mask:0"][before == 0.0] == 0.0).all()


@pytest.mark.parametrize("wrong", [{"sparsity": 1.0}, {"sparsity": -0.1}])
def test_what_cannot_be_pruned_is_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is "):
        PruneSettings(**wrong)


def test_nothing_is_pruned_unless_asked():
    assert not PruneSettings().prunes
    assert PruneSettings(sparsity=0.3).prunes
