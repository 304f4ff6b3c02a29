"""A task is one declaration: a toy that is registered here is trained, quantized, converted and run beside the others."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from compress.tflite import convert_encoder, operations
from edge_runtime.contract.bundle import EncoderSpec
from pocketrec.pipeline.graph import StageRunner
from pocketrec.pipeline.history_stages import TaskStages, task_stage_names
from pocketrec.pipeline.report import task_lines
from pocketrec.pipeline.settings import BuildSettings, QuantizeSettings
from pocketrec.pipeline.stages import StageResult, Stages
from tests.support.tiny_student import DIM, SETTINGS, tiny_student, unit
from train.backend import keras, tf
from train.data.tables import Product, Shop
from train.loop import FitSettings
from train.models.history import HistorySettings, build_history_head
from train.models.layers import QuantizeInput
from train.tasks import declaration
from train.tasks.declaration import Head, Signature, Task, TaskData, register, tasks

SPEC = EncoderSpec(query_tokens=SETTINGS.query_tokens, item_tokens=SETTINGS.item_tokens, history_items=6)
SHOP = Shop("toy", tuple(Product(f"p{row}", f"title {row}") for row in range(40)), (), {}, (), {}, None, (), "digest")
DATA = TaskData(SHOP, unit(np.random.default_rng(0).standard_normal((40, DIM))).astype(np.float32), SPEC, seed=1)


def build(spec, dim):
    vector = keras.Input((dim,), name="vector")
    inner = keras.layers.Dense(8, name="clicks_inner")(QuantizeInput(name="clicks_input")(vector))
    score = keras.layers.Dense(1, name="clicks_score")(keras.layers.ReLU(name="clicks_relu")(inner))
    return keras.Model(vector, score, name="clicks")


def examples(data):
    """Return history vectors, and a click wherever the first channel is positive."""

    def batch(step):
        rows = np.random.default_rng((data.seed, step)).integers(0, len(data.item_vectors), 32)
        vectors = data.item_vectors[rows]
        return tf.constant(vectors), tf.constant((vectors[:, :1] > 0).astype(np.float32))

    return batch


def loss(model):
    def sigmoid(vectors, clicks):
        return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(clicks, model(vectors, training=True)))

    return sigmoid


def metric(model, data):
    found = model(data.item_vectors, training=False).numpy() > 0
    return {"accuracy": float(np.mean(found == (data.item_vectors[:, :1] > 0)))}


@pytest.fixture
def clicks(monkeypatch):
    monkeypatch.setattr(declaration, "_TASKS", dict(tasks()))
    signature = Signature("score_click", {"vector": ((1, DIM), "float32")}, ("click",))
    head = Head(build, examples, loss, metric, FitSettings(steps=120, learning_rate=5e-2))
    return register(Task("clicks", "clicks", lambda spec, dim: (signature,), head))


class Quiet:
    """Reports nothing."""

    def started(self, stage):
        pass

    def progress(self, stage, done, total):
        pass

    def finished(self, stage, line, *, seconds, reused):
        pass


def test_a_third_task_goes_through_its_stages_and_runs_beside_the_others(clicks, tmp_path):
    history = HistorySettings(items=6, heads=2, hidden=8)
    settings = BuildSettings(dim=DIM, student=SETTINGS, history=history, quantize=QuantizeSettings(steps=10))
    stages = TaskStages(settings, SHOP, DATA.item_vectors)
    runner = StageRunner(Stages(tmp_path, resume=True, reporter=Quiet()), settings)
    stages.run(runner, StageResult(tmp_path, "key of the history's stage", {}, 0.0))
    left = runner.results
    assert list(left) == task_stage_names() == ["task@clicks", "task-int8@clicks"]
    assert all(stage.report["metric"]["accuracy"] > 0.9 for stage in left.values())
    folders = {name: stage.folder for name, stage in left.items()}

    def converted(heads):
        return convert_encoder(tiny_student(), build_history_head(history, dim=DIM), SPEC, dim=DIM, heads=heads)

    file = converted(stages.quantized(folders))
    interpreter = Interpreter(model_content=file)
    assert sorted(interpreter.get_signature_list()) == ["encode_history", "encode_item", "encode_query", "score_click"]
    run = interpreter.get_signature_runner("score_click")
    found = np.concatenate([run(vector=row[None])["click"] for row in DATA.item_vectors])
    assert np.mean((found > 0) == (DATA.item_vectors[:, :1] > 0)) > 0.9
    assert not any("clicks/" in place for place in operations(file).float_places)
    assert any("clicks/" in place for place in operations(converted(stages.trained(folders))).float_places)


def test_figures_of_a_third_task_are_told_in_the_model_card():
    lines = task_lines({"task@clicks": {"accuracy": 0.97}, "task-int8@clicks": {"accuracy": 0.96}})
    assert "| task-int8@clicks | accuracy | 0.960 |" in lines
    assert task_lines({}) == []


def test_a_declared_task_without_its_model_is_refused(clicks):
    history = build_history_head(HistorySettings(items=6, heads=2, hidden=8), dim=DIM)
    with pytest.raises(ValueError, match="no model is given for the tasks clicks"):
        convert_encoder(tiny_student(), history, SPEC, dim=DIM)


def test_the_tasks_of_every_bundle_are_declared():
    signatures = {name: [one.name for one in task.signatures(SPEC, DIM)] for name, task in tasks().items()}
    assert signatures == {"search": ["encode_query", "encode_item"], "next-basket": ["encode_history"]}
