"""Ranking for thin clients: a bundle, ONNX Runtime and TensorFlow Serving behind one interface, the cache before them."""

import contextlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from benchmarks.fleet.local_servers import LocalRedis
from edge_runtime.contract.errors import ConfigError, InferenceError
from edge_runtime.recommender import Recommender
from sync_server.config import ServerConfig
from sync_server.ranking.ranker import VectorRanker, open_ranker
from sync_server.ranking.tf_serving_encoder import TfServingEncoder
from tests.support.loopback import listening
from tests.support.server_simulator import ServerSimulator
from tests.support.toy_bundle import make_toy_bundle, write_toy_tokenizer

CREDENTIAL = "c" * 43


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_toy_bundle(tmp_path_factory.mktemp("toy") / "bundle")


@contextlib.contextmanager
def running(folder, **settings):
    server = ServerSimulator(folder, **settings)
    code = server.enrollment.new_code(valid_days=7)
    server.client.post("/v1/devices/enroll", json={"code": code, "credential": CREDENTIAL})
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def server(tmp_path, bundle):
    with running(tmp_path / "sim", rank_backend="bundle", rank_folder=bundle.folder) as started:
        yield started


def ask(server, credential=CREDENTIAL, **body):
    return server.client.post("/v1/rank", json=body, headers={"Authorization": f"Bearer {credential}"})


def test_server_ranks_as_the_device_does(server, bundle):
    answer = ask(server, query="red lamp", k=5)
    assert answer.status_code == 200 and answer.json["model"] == bundle.bundle_id[:12]
    with Recommender.open(bundle.folder) as shop:
        assert tuple(answer.json["product_ids"]) == shop.search("red lamp", k=5).product_ids
        history = ask(server, history=["p0", "p6"], k=3).json["product_ids"]
        assert tuple(history) == shop.recommend(["p0", "p6"], k=3).product_ids


def test_hot_query_is_answered_from_the_cache(server, monkeypatch):
    first = ask(server, query="red lamp")
    monkeypatch.setattr(server.services.ranker, "search", None)
    assert ask(server, query="red lamp").data == first.data
    metrics = server.client.get("/metrics").text
    assert 'pocketrec_rank_answers_total{source="cache"} 1.0' in metrics
    assert 'pocketrec_rank_answers_total{source="model"} 1.0' in metrics


def test_workers_share_hot_answers_in_redis(tmp_path, bundle):
    redis = LocalRedis()
    settings = {"rank_backend": "bundle", "rank_folder": bundle.folder, "redis_url": redis.url}
    try:
        with running(tmp_path / "one", **settings) as one, running(tmp_path / "two", **settings) as two:
            first = ask(one, query="red lamp")
            two.services.ranker.search = None
            assert ask(two, query="red lamp").data == first.data
    finally:
        redis.stop()


@pytest.mark.parametrize(
    "body", [{"k": 0}, {"k": 101}, {"query": "x" * 2_001}, {"history": ["p"] * 101}, {"query": "a", "history": ["p1"]}]
)
def test_request_outside_the_limits_is_refused(server, body):
    assert ask(server, **body).status_code == 400


def test_only_devices_are_answered_and_not_without_end(tmp_path, bundle):
    with running(tmp_path / "s", rank_backend="bundle", rank_folder=bundle.folder, rank_per_minute=2) as server:
        assert ask(server, credential="guess", query="lamp").status_code == 401
        codes = [ask(server, query="lamp") for _ in range(3)]
        assert [answer.status_code for answer in codes] == [200, 200, 429]
        assert codes[2].headers["Retry-After"] == "60"


def test_server_that_does_not_rank_says_so(tmp_path):
    with running(tmp_path / "s") as server:
        assert ask(server, query="lamp").status_code == 404


class FixedEncoder:
    """Gives the first tokens' ids as a vector."""

    def __init__(self):
        self.seen = []

    def encode(self, ids):
        self.seen.append(list(ids))
        return np.array([1.0, 0.0], dtype=np.float32)

    def close(self):
        self.seen.clear()


@pytest.fixture
def exported(tmp_path):
    folder = tmp_path / "exported"
    folder.mkdir()
    np.save(folder / "items.npy", np.array([[0.0, 1.0], [0.6, 0.8], [1.0, 0.0]], dtype=np.float32))
    (folder / "product_ids.json").write_text(json.dumps(["a", "b", "c"]))
    (folder / "export.json").write_text(json.dumps({"name": "teacher", "tokens": 4}))
    write_toy_tokenizer(folder / "tokenizer.json")
    return folder


def test_products_nearest_to_the_vector_come_first(exported):
    encoder = FixedEncoder()
    ranker = VectorRanker(exported, encoder)
    found = ranker.search("red lamp red lamp red lamp", 2)
    assert found.product_ids == ["c", "b"] and found.scores == pytest.approx([1.0, 0.6])
    assert len(encoder.seen[0]) == 4
    assert ranker.recommend(["b", "unknown"], 5).product_ids == ["a", "c"]
    assert ranker.recommend(["unknown"], 2).product_ids == ["a", "b"]


def test_query_without_a_token_is_not_encoded_and_gets_the_first_products(exported):
    encoder = FixedEncoder()
    found = VectorRanker(exported, encoder).search(" ", 2)
    assert (found.product_ids, found.scores, encoder.seen) == (["a", "b"], [0.0, 0.0], [])


def test_folder_that_does_not_fit_is_named(exported):
    (exported / "product_ids.json").write_text("[1, 2]")
    with pytest.raises(ConfigError, match="do not fit"):
        VectorRanker(exported, FixedEncoder())
    (exported / "export.json").write_text("{}")
    with pytest.raises(ConfigError, match="export it again"):
        VectorRanker(exported, FixedEncoder())


@contextlib.contextmanager
def tf_serving(answer, status=200):
    """Speaks TensorFlow Serving's REST protocol for one model; gives the fixed `answer`."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            seen.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with listening(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield f"{url}/v1/models/teacher", seen


def test_tensorflow_serving_is_asked_by_its_rest_protocol(exported):
    with tf_serving({"outputs": [[1.0, 0.0]]}) as (url, seen):
        ranker = open_ranker(ServerConfig(rank_backend="tf-serving", rank_folder=exported, rank_url=url))
        assert ranker.search("red lamp", 1).product_ids == ["c"]
        ranker.close()
    (path, body), *_ = seen
    assert path == "/v1/models/teacher:predict"
    assert body["inputs"]["input_mask"] == [[1] * len(body["inputs"]["input_word_ids"][0])]


@pytest.mark.parametrize(
    ("answer", "status"), [({"error": "x"}, 404), ({"outputs": []}, 200), ({}, 200), ("text", 200)]
)
def test_answer_of_tensorflow_serving_that_is_no_vector_is_named(answer, status):
    with tf_serving(answer, status) as (url, _):
        encoder = TfServingEncoder(url)
        with pytest.raises(InferenceError, match="TensorFlow Serving"):
            encoder.encode([1, 2])
        encoder.close()


def test_tensorflow_serving_that_is_away_is_503(tmp_path, exported):
    settings = {"rank_backend": "tf-serving", "rank_folder": exported, "rank_url": "http://127.0.0.1:9/v1/models/x"}
    with running(tmp_path / "s", **settings) as server:
        answer = ask(server, query="lamp")
        assert answer.status_code == 503 and "127.0.0.1" not in answer.text
    with pytest.raises(ConfigError, match="rank_url"):
        TfServingEncoder("ftp://x")
