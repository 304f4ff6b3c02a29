"""A guardrail is declared in one place: measuring, judging, the history and the console follow."""

import pytest

from sync_server.rollouts import guardrails
from sync_server.rollouts.comparisons import Share
from sync_server.rollouts.guardrails import GUARDRAILS, GuardrailRule
from sync_server.rollouts.measurements import Sides, share_sums
from sync_server.rollouts.plan import RolloutPlan
from tests.support.fleet_bundles import publish_one_and_stage_two

PASSWORD = "correct horse battery"


@pytest.fixture
def toy(monkeypatch):
    rule = GuardrailRule(
        name="battery_drained",
        title="Batteries that ran empty",
        count=lambda _session, _rollout: Sides(share_sums(90, 100)),
        comparison=Share(),
        setting="max_failures",
    )
    monkeypatch.setattr(guardrails, "GUARDRAILS", (*GUARDRAILS, rule))


def test_declared_guardrail_is_judged_and_shown(server, tmp_path, toy):
    publish_one_and_stage_two(server, tmp_path)
    rollouts = server.services.rollouts
    started = rollouts.start(channel="stable", release=None, plan=RolloutPlan(), actor="ann")
    server.pass_time(minutes=2)
    (halted,) = rollouts.tick()
    assert halted.state == "halted" and halted.reason.startswith("battery-drained on ")
    assert [found.verdict for found in halted.guardrails if found.name == "battery_drained"] == ["harm"]

    server.services.operators.add("ann", role="viewer", password=PASSWORD, actor="test")
    client = server.app.test_client()
    form = {"name": "ann", "password": PASSWORD, "csrf_token": client.get("/console/login").text}
    form["csrf_token"] = form["csrf_token"].split('name="csrf_token" value="')[1].split('"')[0]
    assert client.post("/console/login", data=form).status_code == 302
    page = client.get(f"/console/rollouts/{started.id}").text
    assert "Batteries that ran empty" in page
    assert "too early to tell" in page and ">fine<" not in page, "nothing is known of the other guardrails yet"


def test_each_guardrail_has_a_limit_in_the_plan():
    for rule in GUARDRAILS:
        assert RolloutPlan().limit(rule.setting, stage=0) > 0
        assert RolloutPlan().limit(rule.setting, stage=99) > 0
