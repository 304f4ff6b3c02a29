"""A student architecture is one declaration: a toy that is registered here is built, quantized, converted and exported."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter

from compress.export.onnx_student import onnx_student
from compress.quantization import calibrate, quantize
from compress.tflite import convert_query_encoder, operations
from tests.support.tiny_student import SETTINGS, random_ids, tiny_student, unit
from train.models import student
from train.models.layers import LAYERS, OneOperation, Quantization
from train.models.student import StudentSettings, architectures, student_architecture


class Reversed(OneOperation):
    """[batch, n, hidden] -> the same, the channels in reverse order."""

    QUANTIZATION = Quantization(output=None)

    def call(self, x):
        return x[:, :, ::-1]


def write_reversed(graph, layer, x):
    ends = (graph.ints(-1), graph.ints(np.iinfo(np.int64).min), graph.ints(2), graph.ints(-1))
    return graph.add("Slice", x[0], *ends)


@pytest.fixture
def settings(monkeypatch):
    monkeypatch.setattr(student, "_ARCHITECTURES", dict(architectures()))
    monkeypatch.setitem(LAYERS, "Reversed", Reversed)

    @student_architecture("toy", counts=("layers",), onnx={"Reversed": write_reversed})
    def toy(x, bias, settings):
        for number in range(settings.layers):
            x = Reversed(name=f"reversed{number}")(x)
        return x

    return replace(SETTINGS, architecture="toy", layers=1)


def test_a_registered_architecture_goes_to_int8(settings):
    model, ids = tiny_student(settings), random_ids(24, SETTINGS.query_tokens)
    rounded = quantize(model)
    calibrate(rounded, lambda step: (ids,))
    file = convert_query_encoder(rounded, tokens=SETTINGS.query_tokens)
    assert set(operations(file).in_float) <= {"CAST"}
    run = Interpreter(model_content=file).get_signature_runner("encode_query")
    found = np.concatenate([run(ids=row[None])["vector"] for row in ids])
    assert (unit(found) * unit(model(ids).numpy())).sum(axis=-1).min() > 0.9


def test_a_layer_of_an_architecture_s_own_is_written_into_onnx(settings):
    model, ids = tiny_student(settings), random_ids(4, SETTINGS.query_tokens)
    session = onnxruntime.InferenceSession(onnx_student(model), providers=["CPUExecutionProvider"])
    inputs = {"input_word_ids": ids, "input_mask": (ids > 0).astype(np.int32)}
    np.testing.assert_allclose(session.run(["vector"], inputs)[0], unit(model(ids).numpy()), atol=1e-5)


def test_depth_is_that_of_the_declaration(settings):
    assert settings.depth == 1
    assert [StudentSettings(architecture=name, layers=3).depth for name in ("bag", "mixer", "bert")] == [0, 3, 3]
