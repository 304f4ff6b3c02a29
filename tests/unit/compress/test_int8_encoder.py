"""Quantization-aware training and conversion, on one student and one history head that all tests here share."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from compress.errors import CompressionError, UnsupportedLayerError
from compress.pruning import kernel_sparsity as float_sparsity
from compress.quantization import calibrate, kernel_sparsity, quantize
from compress.tflite import convert_encoder, operations
from edge_runtime.contract.bundle import EncoderSpec
from tests.support.tiny_student import DIM, SETTINGS, random_ids, tiny_distillation_set, tiny_student, unit
from train.backend import keras, tf
from train.distillation import DistillSettings, distillation_batches
from train.loop import FitSettings, fit
from train.losses.distillation import distillation_loss
from train.models.history import HistorySettings, build_history_head
from train.models.layers import LAYERS
from train.models.student import architectures

HISTORY = HistorySettings(items=6, heads=2, hidden=8)
SPEC = EncoderSpec(query_tokens=SETTINGS.query_tokens, item_tokens=SETTINGS.item_tokens, history_items=HISTORY.items)
DISTILL = DistillSettings(batch=8, ranking_items=6)


def history_inputs(rows, seed=0):
    random = np.random.default_rng(seed)
    items = unit(random.standard_normal((rows, HISTORY.items, DIM)))
    mask = (np.arange(HISTORY.items)[None] >= random.integers(0, HISTORY.items, (rows, 1))).astype(np.float32)
    return items * mask[..., None], mask


def cosines(one, other):
    return (unit(one) * unit(other)).sum(axis=-1)


def half_pruned_student(architecture):
    keras.utils.set_random_seed(2)
    model = tiny_student(replace(SETTINGS, architecture=architecture))
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dense):
            kernel, *bias = layer.get_weights()
            layer.set_weights([np.where(np.abs(kernel) < np.median(np.abs(kernel)), 0, kernel), *bias])
    return model


def convert(encoder, history):
    return convert_encoder(encoder, history, SPEC, dim=DIM)


@pytest.fixture(scope="module", params=architectures())
def made(request, tmp_path_factory):
    """The float student, its calibrated form before and after three steps, the head, and the .tflite of both."""
    student, head = half_pruned_student(request.param), build_history_head(HISTORY, dim=DIM)
    quantized, quantized_head = quantize(student), quantize(head)
    batches = distillation_batches(tiny_distillation_set(), DISTILL, seed=0)
    calibrate(quantized, lambda step: batches(step)[:1])
    calibrate(quantized_head, lambda step: history_inputs(16, seed=step))
    ids = random_ids(32, SETTINGS.query_tokens, seed=4)
    calibrated_output = quantized(ids, training=False).numpy()
    fit(
        quantized,
        distillation_loss(quantized, DISTILL),
        batches,
        FitSettings(steps=3, learning_rate=1e-3),
        checkpoint_folder=tmp_path_factory.mktemp("quantize"),
    )
    return SimpleNamespace(
        student=student,
        quantized=quantized,
        head=head,
        quantized_head=quantized_head,
        ids=ids,
        calibrated_output=calibrated_output,
        tflite=convert(quantized, quantized_head),
    )


def run(model, signature, **inputs):
    return Interpreter(model_content=model).get_signature_runner(signature)(**inputs)


def run_rows(model, signature, ids):
    runner = Interpreter(model_content=model).get_signature_runner(signature)
    return np.concatenate([runner(ids=row[None])["vector"] for row in ids])


def test_calibrated_output_is_close_to_float(made):
    found = cosines(made.calibrated_output, made.student(made.ids).numpy())
    assert found.mean() > 0.98
    assert found.min() > 0.9


def test_zeros_of_kernels_stay_zero_through_training(made):
    before, after = float_sparsity(made.student), kernel_sparsity(made.quantized)
    assert before == pytest.approx(after)
    assert min(after.values()) > 0.45
    for layer in made.student.layers:
        if isinstance(layer, keras.layers.Dense):
            wrapped = made.quantized.get_layer(f"quant_{layer.name}")
            mask = next(v for v in wrapped.weights if "kernel_sparsity_mask" in v.name).numpy()
            np.testing.assert_array_equal(mask == 0, layer.kernel.numpy() == 0)


def test_training_leaves_the_row_of_the_padding_at_zero(made):
    table = next(v for v in made.quantized.get_layer("quant_word").weights if v.name.endswith("embeddings:0")).numpy()
    assert not table[0].any()
    assert table[1:].any(axis=1).all()


def test_training_moved_the_weights_that_are_not_pruned(made):
    before = made.student.get_layer("projection").kernel.numpy()
    after = next(v for v in made.quantized.get_layer("quant_projection").weights if v.name.endswith("kernel:0")).numpy()
    assert np.abs(after - before)[before != 0].max() > 0


def test_every_layer_of_ours_goes_to_int8():
    models = [build_history_head(HISTORY, dim=DIM), build_history_head(HistorySettings(items=6, heads=1), dim=DIM)]
    models += [tiny_student(replace(SETTINGS, architecture=name)) for name in architectures()]
    used = {type(layer).__name__ for model in models for layer in model.layers}
    assert {name for name, layer in LAYERS.items() if layer.__module__ == "train.models.layers"} <= used | {
        "ZeroPadding"
    }
    for model in models:
        assert len(quantize(model).layers) >= len(model.layers)


@pytest.mark.parametrize(
    "layer", [keras.layers.LayerNormalization(name="norm"), keras.layers.Activation("gelu", name="norm")]
)
def test_a_layer_without_a_way_into_int8_is_named(layer):
    inputs = keras.Input((4,))
    with pytest.raises(UnsupportedLayerError, match=rf"layer norm \({type(layer).__name__}\) has no way into int8"):
        quantize(keras.Model(inputs, layer(inputs)))


def test_a_model_of_another_s_custom_layers_is_refused():
    class Mystery(keras.layers.Layer):
        def call(self, x):
            return tf.sin(x)

    inputs = keras.Input((4,))
    with pytest.raises(UnsupportedLayerError, match="Mystery"):
        quantize(keras.Model(inputs, Mystery()(inputs)))


def test_three_signatures_have_the_promised_shapes(made):
    interpreter = Interpreter(model_content=made.tflite)
    shapes = {}
    for name in interpreter.get_signature_list():
        runner = interpreter.get_signature_runner(name)
        details = {**runner.get_input_details(), **runner.get_output_details()}
        shapes[name] = {key: (tuple(detail["shape"]), detail["dtype"]) for key, detail in details.items()}
    vector = ((1, DIM), np.float32)
    assert shapes == {
        "encode_query": {"ids": ((1, SPEC.query_tokens), np.int32), "vector": vector},
        "encode_item": {"ids": ((1, SPEC.item_tokens), np.int32), "vector": vector},
        "encode_history": {
            "items": ((1, SPEC.history_items, DIM), np.float32),
            "mask": ((1, SPEC.history_items), np.float32),
            "vector": vector,
            "repeat": ((1, SPEC.history_items), np.float32),
        },
    }


def test_nothing_is_computed_in_float_but_conversions(made):
    found = operations(made.tflite)
    assert set(found.in_float) <= {"CAST"}
    assert found.counts["FULLY_CONNECTED"] > 0
    assert found.counts["SOFTMAX"] > 0


def test_operations_left_in_float_are_counted():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, tf.nn.softmax(inputs))
    found = operations(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    assert found.in_float == found.counts == {"SOFTMAX": 1}


@pytest.mark.parametrize(
    ("signature", "length"), [("encode_query", SPEC.query_tokens), ("encode_item", SPEC.item_tokens)]
)
def test_the_file_agrees_with_the_fake_quantized_model(made, signature, length):
    ids = random_ids(24, length, seed=7)
    expected = made.quantized(ids, training=False).numpy()
    found = cosines(run_rows(made.tflite, signature, ids), expected)
    # In sixteen channels a short vector is a few steps of int8 long, and one step of rounding shows.
    assert found.mean() > 0.985
    assert found.min() > 0.96


def test_the_history_signature_agrees_with_the_fake_quantized_head(made):
    items, mask = history_inputs(16, seed=99)
    vectors, repeats = (output.numpy() for output in made.quantized_head([items, mask], training=False))
    for row in range(len(items)):
        found = run(made.tflite, "encode_history", items=items[row : row + 1], mask=mask[row : row + 1])
        assert cosines(found["vector"], vectors[row : row + 1])[0] > 0.99
        np.testing.assert_allclose(found["repeat"][0], repeats[row], atol=0.05)


def test_the_same_model_gives_the_same_bytes(made):
    assert convert(made.quantized, made.quantized_head) == made.tflite


def test_padding_hardly_changes_the_file_s_answer(made):
    ids = random_ids(8, SPEC.query_tokens - 2, seed=3, padded=False)
    lengths = {"encode_query": SPEC.query_tokens, "encode_item": SPEC.item_tokens}
    query, item = (
        run_rows(made.tflite, signature, np.pad(ids, ((0, 0), (0, length - ids.shape[1]))))
        for signature, length in lengths.items()
    )
    assert cosines(query, item).min() > 0.99


def test_what_the_converter_refuses_is_an_error_of_ours(made, monkeypatch):
    def refuse(_self):
        raise ValueError("no way\nwith many lines\nof a stack")

    monkeypatch.setattr(
        "compress.tflite.tf.lite.TFLiteConverter.from_saved_model",
        lambda *_, **__: SimpleNamespace(convert=lambda: refuse(None)),
    )
    monkeypatch.setattr("compress.tflite.tf.saved_model.save", lambda *_, **__: None)
    with pytest.raises(CompressionError, match=r"the TFLite converter refuses the encoder: no way$"):
        convert(made.student, made.head)
