from dataclasses import replace

import pytest

from compress.errors import QualityGateError
from compress.tflite import convert_encoder
from edge_runtime.contract.bundle import EncoderSpec
from pocketrec.pipeline.budget import (
    TOKENIZER_BYTES_PER_PIECE,
    Shape,
    choose_trials,
    cut_to_language,
    plausible_shapes,
    shape_grid,
)
from pocketrec.pipeline.settings import BudgetSettings, BuildSettings
from train.models.history import HistorySettings, build_history_head
from train.models.student import StudentSettings, build_student

LIMITS = BudgetSettings(vocabularies=(200, 400), widths=(16, 32), depths=(1, 2))
BASE = StudentSettings(hidden=32, heads=2, feed_forward=64, query_tokens=8, item_tokens=12)
SETTINGS = BuildSettings(dim=16, student=BASE, history=HistorySettings(items=6, heads=2, hidden=8), budget=LIMITS)


def with_limits(**limits):
    return replace(SETTINGS, budget=replace(LIMITS, **limits))


class Stopwatch:
    """Says of a shape what it was told to, and remembers what it was asked."""

    def __init__(self, of=lambda student: student.hidden * student.layers / 1000):
        self.of = of
        self.asked = []

    def __call__(self, student):
        self.asked.append((student.architecture, student.hidden, student.layers))
        return {"int8": self.of(student), "dynamic-range": 2 * self.of(student)}


def names(shapes):
    return {shape.name for shape in shapes}


def test_the_grid_has_every_shape_once_and_keeps_proportions():
    grid = shape_grid(BASE, LIMITS)
    assert len(names(Shape(student, 0, None) for student in grid)) == len(grid) == 2 * 2 + 2 * (2 * 2 * 2)
    for student in grid:
        assert student.feed_forward == 2 * student.hidden
        assert student.hidden % student.heads == 0
        assert student.query_tokens == BASE.query_tokens


def test_without_a_limit_on_latency_nothing_is_measured():
    stopwatch = Stopwatch()
    shapes = plausible_shapes(SETTINGS, stopwatch)
    assert len(shapes) == len(shape_grid(BASE, LIMITS))
    assert stopwatch.asked == []


def test_predicted_bytes_are_those_of_the_converted_file():
    sized = {shape.name: shape for shape in plausible_shapes(SETTINGS, Stopwatch())}
    shape = sized["bert-v400-h32-l1"]
    model = convert_encoder(
        build_student(shape.student, vocabulary=400, dim=16),
        build_history_head(SETTINGS.history, dim=16),
        EncoderSpec(query_tokens=8, item_tokens=12, history_items=6),
        dim=16,
    )
    # A model of so few weights is mostly graph, which is guessed; the tokenizer is told apart.
    assert shape.bytes - TOKENIZER_BYTES_PER_PIECE * 400 == pytest.approx(len(model), rel=0.2)


def test_what_is_too_large_is_ruled_out():
    sizes = sorted(shape.bytes for shape in plausible_shapes(SETTINGS, Stopwatch()))
    found = plausible_shapes(with_limits(max_bytes=sizes[3]), Stopwatch())
    assert 4 <= len(found) < len(sizes)
    assert max(shape.bytes for shape in found) <= sizes[3] * 1.03


def test_a_budget_of_bytes_that_no_shape_holds_is_refused_at_once():
    stopwatch = Stopwatch()
    with pytest.raises(QualityGateError, match=r"the nearest is bag 16, 200 pieces, untrained: [\d,]+ bytes;"):
        plausible_shapes(with_limits(max_bytes=100, max_latency_ms=1.0), stopwatch)
    assert stopwatch.asked == []


def test_a_budget_of_latency_that_no_shape_holds_names_the_fastest():
    with pytest.raises(QualityGateError, match=r"bytes, 0\.016 ms; it would fit --max-latency-ms 0\.017"):
        plausible_shapes(
            with_limits(max_latency_ms=0.001),
            Stopwatch(lambda s: s.hidden * (1 if s.architecture == "bag" else 2) / 1000),
        )


def test_what_is_too_slow_is_ruled_out_and_what_is_known_is_not_measured():
    stopwatch = Stopwatch()
    found = plausible_shapes(with_limits(max_latency_ms=0.03), stopwatch)
    fast = {(shape.student.hidden, shape.student.layers) for shape in found if shape.student.architecture == "bert"}
    assert fast == {(16, 1), (32, 1), (16, 2)}
    loose = Stopwatch()
    assert len(plausible_shapes(with_limits(max_latency_ms=9.0), loose)) == len(shape_grid(BASE, LIMITS))
    assert loose.asked == [("bag", 32, 2), ("bert", 32, 2), ("mixer", 32, 2)]


def test_within_limits_the_largest_of_each_architecture_are_tried():
    found = choose_trials(plausible_shapes(SETTINGS, Stopwatch()), replace(LIMITS, trials=3, finalists=1))
    assert names(found) == {"bag-v400-h32", "mixer-v400-h32-l2", "bert-v400-h32-l2"}


def test_a_trade_between_vocabulary_and_width_is_tried_both_ways():
    shapes = plausible_shapes(SETTINGS, Stopwatch())
    own = [one for one in shapes if one.name in ("bag-v400-h16", "bag-v200-h32", "bag-v200-h16")]
    assert names(choose_trials(own, LIMITS)) == {"bag-v400-h16", "bag-v200-h32"}


def test_with_a_retention_to_keep_small_shapes_are_tried_too():
    limits = replace(LIMITS, trials=6, min_retention=0.9)
    found = choose_trials(plausible_shapes(SETTINGS, Stopwatch()), limits)
    assert len(found) == 6
    assert {"bag-v200-h16", "bag-v400-h32", "bert-v400-h32-l2", "mixer-v200-h16-l1"} <= names(found)


def test_shapes_that_differ_in_pieces_the_shop_does_not_have_are_one():
    found = cut_to_language(plausible_shapes(SETTINGS, Stopwatch()), 150)
    assert len(found) == len(names(found)) == 2 + 2 * 4
    assert {shape.student.vocabulary for shape in found} == {150}
