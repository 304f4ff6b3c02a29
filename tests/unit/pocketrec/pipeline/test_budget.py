from dataclasses import replace

import pytest

from compress.errors import QualityGateError
from pocketrec.pipeline.budget import choose, pareto_front, points_json, violations
from pocketrec.pipeline.settings import BudgetSettings
from tests.support.budget_points import BASE_POINT, point

SMALL, MIDDLE, LARGE = point(100, 0.01, 0.80), point(200, 0.02, 0.90), point(400, 0.05, 0.95)
BEATEN = point(300, 0.06, 0.85)
POINTS = [BEATEN, LARGE, SMALL, MIDDLE]


def noise_of(*errors):
    return lambda at, best: errors[at]


def test_the_front_has_what_no_other_beats_smallest_first():
    assert pareto_front(POINTS) == [SMALL, MIDDLE, LARGE]


def test_what_was_trained_for_a_short_time_is_not_on_the_front():
    assert pareto_front([*POINTS, replace(SMALL, bytes=1, complete=False)]) == [SMALL, MIDDLE, LARGE]


def test_of_equal_points_one_stays():
    assert pareto_front([SMALL, replace(SMALL, variant="dynamic-range")]) == [SMALL]


def test_every_broken_limit_is_told_with_its_share():
    found = violations(LARGE, BudgetSettings(max_bytes=200, max_latency_ms=0.04, min_retention=0.99))
    assert found == pytest.approx({"max_bytes": 1.0, "max_latency_ms": 0.25, "min_retention": 1 - 0.95 / 0.99})
    assert violations(LARGE, BudgetSettings(max_bytes=400, max_latency_ms=0.05, min_retention=0.95)) == {}


def test_the_best_within_the_limits_is_built():
    assert POINTS[choose(POINTS, BudgetSettings(max_bytes=250), noise_of(0.0, 0.0, 0.0, 0.0))] is MIDDLE
    assert POINTS[choose(POINTS, BudgetSettings(max_latency_ms=0.05), noise_of(0.0, 0.0, 0.0, 0.0))] is LARGE


def test_a_lead_within_the_noise_is_not_worth_bytes():
    limits = BudgetSettings(max_bytes=1_000)
    assert POINTS[choose(POINTS, limits, noise_of(0.06, 0.0, 0.01, 0.06))] is MIDDLE
    assert POINTS[choose(POINTS, limits, noise_of(0.06, 0.0, 0.2, 0.06))] is SMALL


def test_noise_is_measured_against_the_best_point_that_holds_the_limits():
    asked = []

    def noise(at, best):
        asked.append(POINTS[best])
        return 0.0

    choose(POINTS, BudgetSettings(max_bytes=250), noise)
    assert set(map(id, asked)) == {id(MIDDLE)}


def test_with_a_retention_to_keep_the_smallest_that_keeps_it_is_built():
    assert POINTS[choose(POINTS, BudgetSettings(min_retention=0.85), noise_of(1.0, 1.0, 1.0, 1.0))] is MIDDLE


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (BudgetSettings(max_bytes=90), "it would fit --max-bytes 100"),
        (BudgetSettings(max_latency_ms=0.009), "it would fit --max-latency-ms 0.011"),
        (BudgetSettings(min_retention=0.999), "retention 0.950; it would fit --min-retention 0.95"),
        (BudgetSettings(max_bytes=190, min_retention=0.9), "it would fit --max-bytes 200"),
    ],
)
def test_an_impossible_budget_fails_its_gate_and_names_the_nearest_point(limits, said):
    with pytest.raises(QualityGateError, match="no student holds the budget") as failed:
        choose(POINTS, limits, noise_of(0.0, 0.0, 0.0, 0.0))
    assert said in str(failed.value)
    assert failed.value.exit_code == 3


def test_points_know_whether_they_are_on_the_front_and_have_a_name():
    found = points_json([BEATEN, LARGE])
    assert [one["front"] for one in found] == [True, True]
    assert [one["front"] for one in points_json(POINTS)] == [False, True, True, True]
    assert found[0]["name"] == "bag 64, 1,000 pieces, int8"
    assert replace(BASE_POINT, architecture="bert", layers=2, pruning="50%").name == (
        "bert 64 × 2, 1,000 pieces, pruned 50%, int8"
    )


def test_without_a_limit_nothing_is_asked():
    assert not BudgetSettings().asked
    assert BudgetSettings(min_retention=0.9).asked


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_bytes": 0}, {"max_latency_ms": -1.0}, {"min_retention": 0.0}, {"min_retention": 1.1}, {"finalists": 0},
        {"finalists": 9, "trials": 8}, {"first_share": 0.0}, {"widths": ()}, {"vocabularies": (0,)},
    ],
)  # fmt: skip
def test_a_limit_that_nothing_can_hold_is_refused(wrong):
    with pytest.raises(ValueError, match=rf"{next(iter(wrong))} is"):
        BudgetSettings(**wrong)
