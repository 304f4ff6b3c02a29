import dataclasses
import json
import subprocess
import sys

import pytest

from compress.errors import CompressionError
from compress.measure.bench import bench_bundle
from compress.measure.cold_start import measure_cold_start
from edge_runtime.contract.bundle import GOLDEN_FILE, MANIFEST_FILE, seal_bundle
from edge_runtime.contract.errors import BundleFormatError
from tests.support.toy_bundle import make_toy_bundle

OPERATIONS = [
    "tokenize",
    "encode query",
    "nearest products",
    "full-text search",
    "search dense",
    "search hybrid",
    "search filtered",
    "facets",
    "suggest",
    "recommend",
]


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return make_toy_bundle(tmp_path_factory.mktemp("bundle"))


def test_every_operation_is_timed_and_every_file_counted(toy):
    told = []
    result = bench_bundle(toy.folder, runs=5, warm_up_runs=1, progress=lambda *step: told.append(step))
    assert [timing.name for timing in result.timings] == OPERATIONS
    assert all(0 < timing.p50_ms <= timing.p99_ms and timing.runs == 5 for timing in result.timings)
    assert result.file_bytes == {path.name: path.stat().st_size for path in toy.folder.iterdir()}
    assert result.recall10 == 1.0
    assert result.total_bytes == sum(result.file_bytes.values())
    assert result.model_bytes == result.file_bytes["encoder.tflite"] + result.file_bytes["tokenizer.json"]
    assert (result.bundle_id, result.products, result.queries) == (toy.bundle_id, 30, 4)
    assert told[-1] == ("fresh process", 11, 11)
    json.dumps(dataclasses.asdict(result))


def test_warm_up_runs_do_not_count(toy):
    ticks = iter(range(10**6))
    result = bench_bundle(toy.folder, runs=3, warm_up_runs=7, clock=lambda: next(ticks) * 0.001)
    assert all(timing.p50_ms == pytest.approx(1.0) for timing in result.timings)
    assert next(ticks) == 3 * 2 * len(OPERATIONS)


def test_bundle_without_golden_queries_is_measured_with_its_titles(toy, tmp_path):
    for path in toy.folder.iterdir():
        if path.name != MANIFEST_FILE:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    empty = {"min_cosine": 0.9, "min_overlap": 0.9, "queries": [], "histories": []}
    (tmp_path / GOLDEN_FILE).write_text(json.dumps(empty))
    manifest = toy.manifest
    names = ("name", "created_at", "config_digest", "shop_digest", "space", "encoder", "catalogue", "fusion")
    seal_bundle(tmp_path, **{name: getattr(manifest, name) for name in names})
    assert bench_bundle(tmp_path, runs=1, warm_up_runs=0).queries == 30


def test_runs_below_one_are_refused(toy):
    with pytest.raises(CompressionError, match="at least 1 run, got 0"):
        bench_bundle(toy.folder, runs=0)


def test_folder_without_manifest_is_no_bundle(tmp_path):
    with pytest.raises(BundleFormatError):
        bench_bundle(tmp_path)


def test_fresh_process_says_what_it_paid(toy):
    start = measure_cold_start(toy.folder, "red lamp")
    assert start.interpreter.startswith(("LiteRT", "tflite-runtime"))
    assert min(start.import_ms, start.open_ms, start.first_answer_ms) > 0
    assert start.process_ms > start.import_ms + start.open_ms
    # A process that had loaded TensorFlow would hold some 500 MB.
    assert 0 < start.memory_idle_bytes < start.memory_bytes <= start.memory_peak_bytes < 300e6
    assert 0 < start.memory_private_bytes < start.memory_bytes


def test_file_of_the_user_does_not_shadow_ours_in_the_fresh_process(toy, tmp_path, monkeypatch):
    (tmp_path / "compress.py").write_text("raise SystemExit('shadowed')")
    monkeypatch.chdir(tmp_path)
    assert measure_cold_start(toy.folder, "red lamp").open_ms > 0


def test_failure_of_the_fresh_process_is_one_sentence(tmp_path):
    with pytest.raises(CompressionError, match="is not a bundle") as caught:
        measure_cold_start(tmp_path, "red lamp")
    assert "\n" not in str(caught.value)


def test_fresh_process_that_hangs_is_given_up(toy, monkeypatch):
    def hang(*args, **kwargs):
        raise subprocess.TimeoutExpired("python", 120)

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(CompressionError, match="over 120 s"):
        measure_cold_start(toy.folder, "red lamp")


def test_bench_and_evaluate_load_no_tensorflow():
    program = "import sys, compress.measure.bench, compress.measure.evaluate; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
