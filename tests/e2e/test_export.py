"""The student of a built bundle, exported: `/v1/rank` in ONNX Runtime finds what the device's vectors find."""

import contextlib
import io
import json

import numpy as np
import pytest

from edge_runtime.contract.bundle import GOLDEN_FILE, open_bundle
from edge_runtime.contract.golden import read_golden
from edge_runtime.recommender import Recommender
from pocketrec import verbs
from pocketrec.pipeline.graph import record_artifacts
from sync_server.ranking.onnx_encoder import OnnxEncoder
from sync_server.ranking.ranker import VectorRanker
from tests.support.server_simulator import ServerSimulator
from train.backend import tf

pytestmark = pytest.mark.timeout(7200)

CREDENTIAL = "c" * 43


@pytest.fixture(scope="module")
def export(built, tmp_path_factory):
    """The folder of the exported student, and what the command said in JSON."""
    folder = tmp_path_factory.mktemp("exported") / "student"
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert verbs.main(["export", str(built), "--out", str(folder), "--json"]) == 0
    return folder, json.loads(said.getvalue())


@pytest.fixture
def exported(export):
    return export[0]


def test_export_says_how_near_the_student_is_to_the_device(built, export):
    folder, said = export[0], export[1]["agreement"]
    with Recommender.open(built) as device:
        golden = read_golden(device.bundle.path(GOLDEN_FILE)).queries
        ranker = VectorRanker(folder, OnnxEncoder(folder / "model.onnx"))
        shares = [
            len(set(ranker.search(one.text, 10).product_ids) & set(device.search(one.text, mode="dense").product_ids))
            / 10
            for one in golden
        ]
        ranker.close()
    assert said["queries"] == len(golden)
    assert said["top10_overlap"] == pytest.approx(np.mean(shares), abs=0.02)
    assert 0.9 < said["worst_cosine"] <= said["mean_cosine"] < 1


def test_exported_student_ranks_as_the_device_does_by_vectors(built, exported, query):
    ranker = VectorRanker(exported, OnnxEncoder(exported / "model.onnx"))
    with Recommender.open(built) as device:
        on_device = device.search(query, k=10, mode="dense")
        assert ranker.search(query, 10).scores == pytest.approx(on_device.scores, abs=0.05)
        assert len(set(ranker.search(query, 10).product_ids) & set(on_device.product_ids)) >= 8
        assert ranker.name == f"student-{device.bundle.bundle_id[:12]}"
        assert ranker.search(" ", 3).product_ids == ranker.recommend([], 3).product_ids
    ranker.close()


def test_server_answers_a_device_with_the_exported_student(exported, query, tmp_path):
    server = ServerSimulator(tmp_path / "server", rank_backend="onnx", rank_folder=exported)
    try:
        body = {"code": server.enrollment.new_code(valid_days=7), "credential": CREDENTIAL}
        server.client.post("/v1/devices/enroll", json=body)
        headers = {"Authorization": f"Bearer {CREDENTIAL}"}
        answer = server.client.post("/v1/rank", json={"query": query, "k": 5}, headers=headers)
    finally:
        server.close()
    ranker = VectorRanker(exported, OnnxEncoder(exported / "model.onnx"))
    assert answer.status_code == 200 and answer.json["model"] == ranker.name
    assert answer.json["product_ids"] == ranker.search(query, 5).product_ids
    ranker.close()


def test_saved_model_and_onnx_agree(exported):
    serve = tf.saved_model.load(str(exported / "saved_model" / "1")).signatures["serving_default"]
    encoder = OnnxEncoder(exported / "model.onnx")
    ids = np.array([[5, 9, 7, 0], [8, 6, 5, 4]], np.int32)
    found = serve(input_word_ids=tf.constant(ids), input_mask=tf.constant((ids > 0).astype(np.int32)))["vector"]
    assert found[1].numpy() == pytest.approx(encoder.encode(ids[1]), abs=1e-5)
    assert found[0].numpy() == pytest.approx(encoder.encode(ids[0]), abs=1e-5)
    encoder.close()


def test_work_folder_of_another_build_is_refused(built, tmp_path, capsys):
    assert verbs.main(["export", str(built), "--work", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "name the folder that its own build left" in capsys.readouterr().err


def test_damaged_weights_are_one_sentence(built, tmp_path, capsys):
    stage = tmp_path / "prune"
    stage.mkdir()
    (stage / "key.txt").write_text("key")
    (stage / "model.weights.h5").write_bytes(b"no weights")
    record_artifacts(tmp_path, open_bundle(built).bundle_id, {"prune": stage})
    assert verbs.main(["export", str(built), "--work", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "cannot be read" in capsys.readouterr().err
