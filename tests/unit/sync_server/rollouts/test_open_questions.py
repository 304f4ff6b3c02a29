"""What an undecided guardrail says to the operator of a small fleet: silence is not proof."""

import math

import msgspec
import pytest

from pocketrec.cli.rollout import _result, _whole
from sync_server.rollouts.comparisons import Guardrail
from sync_server.rollouts.guardrails import GUARDRAILS, Measured, judge, open_question
from sync_server.rollouts.measurements import NOTHING, Sides, share_sums
from sync_server.rollouts.plan import RolloutPlan
from sync_server.statistics.confidence_sequences import open_difference

SMALL = Guardrail(
    name="click_through", verdict="undecided", estimate=-0.02, lower=-0.42, upper=0.38, limit=-0.1, devices=50
)
SAYS = (
    "a change of less than 40% either way cannot be told from none yet; "
    "that of the limit takes some 800 devices, or the same ones for longer"
)


def test_undecided_guardrail_says_what_it_could_tell_and_what_it_takes():
    assert open_question(SMALL) == SAYS
    assert open_question(msgspec.structs.replace(SMALL, verdict="fine")) == ""


def test_guardrail_that_knows_nothing_says_so():
    blind = msgspec.structs.replace(SMALL, lower=-math.inf, upper=math.inf)
    assert open_question(blind) == "too few devices to tell any change"


def test_command_line_shows_it_below_the_guardrail():
    rollout = {
        "id": "r1", "release": 2, "channel": "stable", "base_release": 1, "state": "running", "stage": 0, "share": 0.01,
        "reason": "soaks", "guardrails": [msgspec.to_builtins(SMALL), {**msgspec.to_builtins(SMALL), "upper": None}],
    }  # fmt: skip
    lines = _whole({"rollout": rollout, "history": []}).splitlines()
    assert lines[2].strip() == SAYS
    assert lines[4].strip() == "too few devices to tell any change"


def judged(devices, failures=0):
    sides = {rule.name: Sides(NOTHING) for rule in GUARDRAILS} | {"crashed": Sides(share_sums(failures, devices))}
    return {one.name: one for one in judge(RolloutPlan(), Measured(devices, sides), stage=0)}


def test_failures_that_are_fine_on_few_devices_say_how_many_could_hide():
    few, many = judged(30)["crashed"], judged(5_000)["crashed"]
    assert (few.verdict, many.verdict) == ("fine", "fine")
    assert few.upper > RolloutPlan().max_failures
    assert open_question(few) == f"up to {few.upper:.0%} of devices could be harmed without it being known yet"
    assert open_question(many) == ""
    assert open_question(judged(0)["crashed"]) == "too few devices to tell any harm"
    assert open_question(judged(100, failures=90)["crashed"]) == ""


def test_latency_says_how_far_beyond_the_limit_it_could_be():
    slow = msgspec.structs.replace(SMALL, name="latency", verdict="fine", upper=0.31, limit=0.0)
    assert open_question(slow) == "latency up to 31% beyond what is allowed cannot be ruled out yet"
    assert open_question(judged(30)["latency"]) == "too few devices to tell any harm"


@pytest.mark.parametrize(
    ("interval", "says"),
    [
        ((0.01, -0.02, 0.04), "a difference of less than 3 points either way cannot be told from none yet"),
        ((0.05, 0.02, 0.08), ""),
        ((-0.05, -0.08, -0.02), ""),
        ((0.01, None, None), "no difference can be told before 50 devices and 20 clicks in each variant"),
        ((0.01, -math.inf, math.inf), "no difference can be told before 50 devices and 20 clicks in each variant"),
    ],
)
def test_experiment_says_which_difference_it_cannot_tell(interval, says):
    assert open_difference(*interval) == says
    difference, lower, upper = (None if math.isinf(value or 0) else value for value in interval)
    arm = {"name": "new", "release": 2, "assigned": 9, "clicks": 1, "impressions": 9, "click_through": 0.1}
    found = {"id": "e1", "name": "x", "channel": "stable", "state": "running", "sample_ratio_mismatch": False}
    found |= {"teams": None, "arms": [{**arm, "difference": difference, "lower": lower, "upper": upper}]}
    assert ([line.strip() for line in _result(found).splitlines()[2:]] or [""]) == [says]
