import json

import numpy as np
import pytest

from compress.quantization import calibrate, quantize
from compress.tflite import Operations, convert_encoder
from compress.variants import VARIANTS, Variant, convert_outcome, variant_verdict, write_variant
from edge_runtime.contract.bundle import ENCODER_FILE, EncoderSpec
from tests.support.tiny_student import DIM, SETTINGS, random_ids, tiny_student, unit
from train.data.tables import Judgement
from train.models.history import HistorySettings, build_history_head

HISTORY = HistorySettings(items=6, heads=2, hidden=8)
SPEC = EncoderSpec(query_tokens=SETTINGS.query_tokens, item_tokens=SETTINGS.item_tokens, history_items=HISTORY.items)
ITEMS = unit(np.random.default_rng(0).standard_normal((20, DIM))).astype(np.float32)
JUDGED = {f"q{n}": [Judgement(f"q{n}", n, 1.0), Judgement(f"q{n}", n + 5, 0.0)] for n in range(4)}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder, and the full-int8 and the dynamic-range variant of one student with random weights."""
    folder = tmp_path_factory.mktemp("variants")
    student, head = tiny_student(), build_history_head(HISTORY, dim=DIM)
    int8 = quantize(student)
    calibrate(int8, lambda step: (random_ids(16, SETTINGS.query_tokens, seed=step),))
    ids = random_ids(4, SETTINGS.query_tokens, seed=1)
    models = {"int8": int8, "dynamic-range": student}
    return folder, {
        name: write_variant(
            name, convert_encoder(model, head, SPEC, dim=DIM), folder, query_ids=ids, judged=JUDGED, items=ITEMS
        )
        for name, model in models.items()
    }


def test_each_variant_is_written_and_measured(made):
    folder, variants = made
    for name, variant in variants.items():
        assert name in VARIANTS
        assert variant.bytes == (folder / name / ENCODER_FILE).stat().st_size
        assert 0 < variant.compressed_bytes < variant.bytes
        assert 0 < variant.encode_p50_ms <= variant.encode_p99_ms
        assert (variant.quality.stage, variant.quality.queries) == (name, 4)


def test_dynamic_range_computes_in_float_where_int8_does_not(made):
    in_float = {name: variant.operations.in_float for name, variant in made[1].items()}
    assert "SOFTMAX" in in_float["dynamic-range"]
    assert in_float["int8"].get("SOFTMAX", 0) < in_float["dynamic-range"]["SOFTMAX"]


def test_without_held_out_queries_size_and_latency_are_still_measured(made, tmp_path):
    model = (made[0] / "int8" / ENCODER_FILE).read_bytes()
    none = np.zeros((0, SETTINGS.query_tokens), np.int32)
    variant = write_variant("int8", model, tmp_path, query_ids=none, judged={}, items=ITEMS)
    assert variant.quality is None
    assert variant.encode_p50_ms > 0


def test_the_outcome_names_what_is_shipped_and_what_is_faster(made):
    line, report = convert_outcome(made[1], "int8")
    assert line.startswith("int8: ")
    assert report["shipped"] == "int8"
    assert [one["name"] for one in json.loads(json.dumps(report["variants"]))] == ["int8", "dynamic-range"]
    assert report["in_float"] == made[1]["int8"].operations.in_float
    assert {one["name"] for one in report["inside"]} >= {"history/history_query"}
    assert report["variants"][1]["float_places"]


def like(name, by_query, *, p50=0.02, size=1000):
    return Variant(name, size, 500, Operations({}, {}), p50, 2 * p50, None, np.asarray(by_query, np.float64))


BETTER = np.random.default_rng(1).uniform(0.5, 1.0, (60, 2))


@pytest.mark.parametrize(
    ("control", "meaning"),
    [
        (BETTER - 0.1, "Training in int8 pays here."),
        (BETTER, "does not pay here: the calibrated control ranks as well"),
        (np.minimum(BETTER + 0.1, 1.2), "does harm here: ship int8-calibrated"),
    ],
)
def test_the_verdict_says_whether_training_in_int8_paid(control, meaning):
    made = {"int8": like("int8", BETTER), "int8-calibrated": like("int8-calibrated", control)}
    assert meaning in variant_verdict(made, "int8")[0]
    # The same comparison from the other side says the same.
    assert meaning in variant_verdict(made, "int8-calibrated")[0]


def test_the_verdict_compares_speed_and_size_with_dynamic_range():
    made = {"int8": like("int8", BETTER, p50=0.04, size=900), "dynamic-range": like("dynamic-range", BETTER)}
    (said,) = variant_verdict(made, "int8")
    assert "int8 takes 2.00 times as long, 0.90 times the bytes" in said
    assert "Training" not in said
    unjudged = {name: like(name, np.zeros((0, 2))) for name in made}
    assert "no held-out query says how they rank" in variant_verdict(unjudged, "int8")[0]
