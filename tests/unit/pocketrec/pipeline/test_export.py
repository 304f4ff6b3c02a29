"""An exported teacher or student says the same in TensorFlow, as a SavedModel and in ONNX Runtime, and ranks on the server."""

import json

import numpy as np
import pytest

from compress.errors import CompressionError
from compress.export.onnx_student import onnx_student
from pocketrec.pipeline.export import export_teacher
from sync_server.ranking.onnx_encoder import OnnxEncoder
from sync_server.ranking.ranker import VectorRanker
from tests.support.tiny_bert import write_tiny_bert
from train.backend import keras, tf
from train.data.tables import Product
from train.models.student import StudentSettings, build_student
from train.models.teacher import Teacher

WORDS = ("red", "blue", "lamp", "table", "chair", "wooden")
TITLES = ("red lamp", "blue lamp", "wooden table", "wooden chair red", "blue chair")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher")
    write_tiny_bert(folder, WORDS)
    config = json.loads((folder / "config.json").read_text())
    vocabulary = 6 + len(WORDS)
    sizes = {"vocab_size": vocabulary, "intermediate_size": 64, "max_position_embeddings": 64}
    (folder / "config.json").write_text(json.dumps({**config, **sizes, "model_type": "bert"}))
    return folder


@pytest.fixture(scope="module")
def exported(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "export"
    products = [Product(product_id=f"p{number}", title=title) for number, title in enumerate(TITLES)]
    export_teacher(source, products, folder, max_tokens=16)
    return folder


@pytest.fixture(scope="module")
def teacher(source):
    return Teacher.load(source)


def test_onnx_runtime_gives_the_teachers_vectors(exported, teacher):
    encoder = OnnxEncoder(exported / "model.onnx")
    for title in TITLES:
        (ids,) = teacher.token_rows([title], max_tokens=16)
        assert encoder.encode(ids) == pytest.approx(teacher.encode([title])[0], abs=1e-5)
    encoder.close()


def test_saved_model_gives_the_teachers_vectors_padded_or_not(exported, teacher):
    serve = tf.saved_model.load(str(exported / "saved_model" / "1")).signatures["serving_default"]
    rows = teacher.token_rows(TITLES, max_tokens=16)
    width = max(map(len, rows))
    ids, mask = np.zeros((len(rows), width), np.int32), np.zeros((len(rows), width), np.int32)
    for number, row in enumerate(rows):
        ids[number, : len(row)], mask[number, : len(row)] = row, 1
    found = serve(input_word_ids=tf.constant(ids), input_mask=tf.constant(mask))
    assert list(found) == ["vector"]
    assert found["vector"].numpy() == pytest.approx(teacher.encode(TITLES), abs=1e-5)


def test_server_ranks_by_the_exported_folder(exported, teacher):
    ranker = VectorRanker(exported, OnnxEncoder(exported / "model.onnx"))
    scores = teacher.encode(TITLES) @ teacher.encode(["wooden chair"])[0]
    found = ranker.search("wooden chair", 3)
    assert found.product_ids == [f"p{row}" for row in np.argsort(-scores)[:3]]
    assert found.scores == pytest.approx(sorted(scores, reverse=True)[:3], abs=1e-5)
    ranker.close()


def test_folder_that_is_no_checkpoint_is_named(tmp_path):
    with pytest.raises(CompressionError, match="neither a BERT checkpoint nor a bundle"):
        export_teacher(tmp_path, [], tmp_path / "out")


@pytest.mark.parametrize(
    "settings",
    [
        StudentSettings(hidden=8, pooling_heads=2),
        StudentSettings(architecture="mixer", hidden=8, layers=2, feed_forward=12),
        StudentSettings(architecture="bert", hidden=8, heads=2, layers=2, feed_forward=12),
    ],
    ids=lambda settings: settings.architecture,
)
def test_onnx_runtime_gives_the_students_vectors(settings, tmp_path):
    model = build_student(settings, vocabulary=30, dim=6)
    random = np.random.default_rng(0)
    model.set_weights([random.normal(0, 0.4, weight.shape) for weight in model.get_weights()])
    (tmp_path / "model.onnx").write_bytes(onnx_student(model))
    encoder = OnnxEncoder(tmp_path / "model.onnx")
    for length in (1, 2, 7, 16):
        ids = random.integers(1, 30, length)
        (vector,) = model(np.array([ids], np.int32), training=False).numpy()
        assert encoder.encode(ids) == pytest.approx(vector / np.linalg.norm(vector), abs=1e-5)
    encoder.close()


def test_student_with_an_unknown_layer_is_refused():
    inputs = keras.Input((3,), name="ids")
    with pytest.raises(CompressionError, match="Flatten, which has no place in ONNX"):
        onnx_student(keras.Model(inputs, keras.layers.Flatten()(inputs)))
