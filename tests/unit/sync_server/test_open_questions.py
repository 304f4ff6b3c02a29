"""What an undecided guardrail says to the operator of a small fleet: silence is not proof."""

import math

import msgspec

from sync_server.rollout_cli import _whole
from sync_server.rollout_plan import Guardrail, open_question

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
