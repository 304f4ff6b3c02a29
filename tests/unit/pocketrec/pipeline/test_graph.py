"""The declared stages: what their keys hold, and how a bundle's artifacts are found again."""

import json
import subprocess
import sys
from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest

from compress.quantization import quantize, take_float_weights
from edge_runtime.contract.errors import ConfigError
from pocketrec.pipeline import graph
from pocketrec.pipeline.graph import STAGES, StageRunner, artifacts_of, record_artifacts, version_of
from pocketrec.pipeline.settings import BuildSettings
from pocketrec.pipeline.stages import KEY_FILE, LOCK_FILE, StageResult, Stages, locked
from tests.support.tiny_student import tiny_student
from train.models.pretrained import source_identity


def stage_in(work, name, key):
    folder = work / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / KEY_FILE).write_text(key)
    return folder


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_names_code_that_exists_and_libraries_that_are_installed(stage):
    digest, *libraries = version_of(stage)
    assert len(digest) == 64
    assert any(name.startswith("tensorflow ") for name in libraries)


def test_code_counts_but_its_docstrings_and_comments_do_not(tmp_path, monkeypatch):
    module = tmp_path / "train" / "loss.py"
    module.parent.mkdir()
    monkeypatch.setattr(graph, "_ROOT", tmp_path)
    digests = []
    for text in (
        '"""One."""\n\ndef f(x):\n    return x\n',
        "# why\ndef f(x):\n    '''Two.'''\n    return x\n",
        "def f(x):\n    return -x\n",
    ):
        module.write_text(text)
        graph._code_digest.cache_clear()
        digests.append(graph._code_digest("train.loss"))
    graph._code_digest.cache_clear()
    assert digests[0] == digests[1] != digests[2]


def test_code_that_a_stage_reaches_through_another_module_counts():
    assert "train.loop" in graph._closure(STAGES["student"].code)
    assert not any(name.startswith("pocketrec") for name in graph._closure(STAGES["teacher"].code))


def test_a_newer_library_is_another_key(monkeypatch):
    before = version_of("quantize")
    monkeypatch.setattr(graph, "version", lambda name: "99.0" if name == "tf-keras" else "1.0")
    assert version_of("quantize") != before


DATA = {
    "learning_data", "teacher_weights", "held_out_judgements", "held_out_queries", "shape", "shop", "budget_search",
    "task_heads",
}  # fmt: skip
NOT_OF_A_STAGE = {"holdout": "decides which queries are held out", "teacher_source": "counts by what its files hold",
                  "budget": "decides which shapes are tried"}  # fmt: skip


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_given_results_of_declared_stages_and_known_data(stage):
    assert set(STAGES[stage].inputs) <= STAGES.keys() | DATA


def test_every_setting_of_a_build_decides_a_stage():
    deciding = {setting.partition(".")[0] for stage in STAGES.values() for setting in stage.settings}
    assert {field.name for field in fields(BuildSettings)} == deciding | NOT_OF_A_STAGE.keys()


def run_history(work, settings, vectors_key="v1"):
    lines = []
    run = StageRunner(Stages(work, resume=True, reporter=SimpleNamespace(
        started=lambda _stage: None, progress=None,
        finished=lambda _stage, _line, *, seconds, reused: lines.append(reused),
    )), settings)  # fmt: skip
    run("history", lambda _folder, _progress: ("", {}), vectors=StageResult(work, vectors_key, {}, 0.0))
    return lines[0]


def test_a_stage_runs_again_when_what_it_declares_changed_and_not_otherwise(tmp_path):
    settings = BuildSettings()
    assert [run_history(tmp_path, settings), run_history(tmp_path, settings)] == [False, True]
    assert run_history(tmp_path, replace(settings, history=replace(settings.history, steps=3))) is False
    assert run_history(tmp_path, settings, "v2") is False
    assert run_history(tmp_path, replace(settings, prune=replace(settings.prune, steps=3)), "v2") is True


def test_a_stage_that_is_given_other_inputs_than_it_declares_does_not_run(tmp_path):
    run = StageRunner(Stages(tmp_path, resume=True, reporter=None), BuildSettings())
    for inputs in ({}, {"vectors": None, "teacher": None}):
        with pytest.raises(TypeError, match=r"stage history is given .* and declares \['vectors'\]"):
            run("history", None, **inputs)
    assert not (tmp_path / "history").exists()


def test_a_bundle_finds_its_stages_wherever_the_search_put_them(tmp_path):
    folder = stage_in(tmp_path, "budget/bag-512-none/prune", "k1")
    record_artifacts(tmp_path, "bundle-1", {"prune": folder})
    assert artifacts_of("bundle-1", tmp_path).folder("prune") == folder


def test_the_work_of_another_build_is_refused(tmp_path):
    record_artifacts(tmp_path, "bundle-1", {"prune": stage_in(tmp_path, "prune", "k1")})
    with pytest.raises(
        ConfigError, match="holds no stages of bundle bundle-2; name the folder that its own build left"
    ):
        artifacts_of("bundle-2", tmp_path)
    with pytest.raises(ConfigError, match="was made without the stage tuned"):
        artifacts_of("bundle-1", tmp_path).folder("tuned")


def test_stages_that_were_built_over_are_refused(tmp_path):
    record_artifacts(tmp_path, "bundle-1", {"prune": stage_in(tmp_path, "prune", "k1")})
    stage_in(tmp_path, "prune", "k2")
    with pytest.raises(ConfigError, match="the stages prune of bundle bundle-1 are gone or were built over"):
        artifacts_of("bundle-1", tmp_path)


def test_a_damaged_record_is_no_record(tmp_path):
    (tmp_path / "builds.json").write_text("[")
    with pytest.raises(ConfigError, match="holds no stages"):
        artifacts_of("bundle-1", tmp_path)


def test_a_second_build_in_one_folder_says_who_holds_it(tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom pocketrec.pipeline.stages import locked\n"
        "with locked(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match=f"in use by process {other.pid} on .* since "), locked(tmp_path):
            pass
        other.kill()
    with locked(tmp_path):
        assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] != other.pid


def test_the_lock_and_the_record_are_no_strangers_to_a_new_build(tmp_path):
    with locked(tmp_path):
        record_artifacts(tmp_path, "bundle-1", {})
        Stages(tmp_path, resume=False, reporter=None)
        assert [path.name for path in tmp_path.iterdir()] == [LOCK_FILE]


def test_a_teacher_is_known_by_what_its_files_hold(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "tokenizer.json").write_bytes(b"{}")
    first = source_identity(str(tmp_path))
    (tmp_path / "tokenizer.json").write_bytes(b"{ }")
    second = source_identity(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"others!")
    assert len({first, second, source_identity(str(tmp_path))}) == 3
    assert source_identity("https://tfhub.example/bert/1") == "https://tfhub.example/bert/1"


def test_a_float_student_takes_the_weights_that_quantized_training_left():
    student = tiny_student()
    tuned = quantize(student)
    for variable in tuned.trainable_variables:
        variable.assign(variable + 0.125)
    before = [weight.copy() for weight in student.get_weights()]
    take_float_weights(student, tuned)
    assert all(np.allclose(new, old + 0.125) for new, old in zip(student.get_weights(), before, strict=True))
