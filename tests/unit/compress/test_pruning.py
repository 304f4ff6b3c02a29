from dataclasses import replace

import numpy as np
import pytest

from compress.pruning import PruneSettings, keeps_two_of_four, kernel_sparsity, strip, with_pruning
from compress.quantization import quantize
from tests.support.tiny_student import SETTINGS, random_ids, tiny_distillation_set, tiny_student
from train.backend import keras
from train.distillation import DistillSettings, distillation_batches, distillation_loss
from train.loop import FitSettings, fit

DISTILL = DistillSettings(batch=8, ranking_items=6)
PRUNE = PruneSettings(sparsity=0.6, steps=12, learning_rate=1e-3)


def tiny_bert():
    return tiny_student(replace(SETTINGS, architecture="bert"))


class Stop(RuntimeError):
    pass


def stop_at(wanted):
    def progress(done, _total):
        if done == wanted:
            raise Stop

    return progress


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


TWO_OF_FOUR = PruneSettings(pattern="2:4", steps=5, learning_rate=1e-3)


@pytest.fixture(scope="module")
def structured(tmp_path_factory):
    return pruned(tmp_path_factory.mktemp("structured"), settings=TWO_OF_FOUR)


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


def dense_kernels(model):
    return [layer.kernel.numpy() for layer in model.layers if isinstance(layer, keras.layers.Dense)]


def test_two_of_every_four_weights_are_zero_in_every_kernel(structured):
    for kernel in dense_kernels(structured):
        assert keeps_two_of_four(kernel)
        assert (kernel == 0).mean() == pytest.approx(0.5, abs=0.01)


def test_unstructured_zeros_are_not_two_of_four(model):
    assert not all(keeps_two_of_four(kernel) for kernel in dense_kernels(model))


def test_two_of_four_stays_so_through_training_in_int8(structured, tmp_path):
    quantized = quantize(structured)
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
            assert keeps_two_of_four(weights["kernel_sparsity_mask:0"] * weights["kernel:0"])


def test_a_resumed_two_of_four_gives_the_same_weights(structured, tmp_path):
    with pytest.raises(Stop):
        pruned(tmp_path, settings=TWO_OF_FOUR, progress=stop_at(3), checkpoint_every_s=0.0)
    for through, resumed in zip(
        structured.get_weights(), pruned(tmp_path, settings=TWO_OF_FOUR).get_weights(), strict=True
    ):
        np.testing.assert_array_equal(through, resumed)


@pytest.mark.parametrize("wrong", [{"sparsity": 1.0}, {"sparsity": -0.1}, {"pattern": "1:2"}])
def test_what_cannot_be_pruned_is_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is "):
        PruneSettings(**wrong)


def test_two_of_four_needs_no_sparsity_and_nothing_is_pruned_unless_asked():
    assert [PruneSettings(pattern=pattern).prunes for pattern in ("magnitude", "2:4")] == [False, True]
    assert PruneSettings(sparsity=0.3).prunes
