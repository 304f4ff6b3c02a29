"""What a rollout can show is known before it starts, from last week's clicks."""

import math

import pytest

from edge_runtime.contract.events import FeedbackBatch, FeedbackEvent, SequencedEvent
from edge_runtime.contract.reports import DeviceReport, ReportBatch
from sync_server.rollouts.plan import RolloutPlan
from sync_server.rollouts.sizing import Traffic, sights
from tests.support.fleet_bundles import publish_one_and_stage_two

PASSWORD = "correct horse battery"


def test_larger_stages_show_smaller_losses_and_the_last_one_compares_nobody():
    found = sights(RolloutPlan(), Traffic(100_000, 0.08, 20.0, between=0.55))
    assert [stage.devices for stage in found] == [1_000, 5_000, 25_000, 0]
    assert found[0].visible_loss > found[1].visible_loss > found[2].visible_loss > 0.02
    assert math.isinf(found[3].visible_loss)


def test_longer_stage_shows_a_smaller_loss_and_no_time_shows_none():
    traffic = Traffic(100_000, 0.08, 20.0, between=0.55)
    day, week, none = (sights(RolloutPlan(soak_hours=hours), traffic)[1] for hours in (24.0, 168.0, 0.0))
    assert week.visible_loss < day.visible_loss and math.isinf(none.visible_loss)


@pytest.mark.usefixtures("database_url")
def test_console_says_what_a_rollout_of_the_waiting_release_could_show(server, tmp_path):
    publish_one_and_stage_two(server, tmp_path)
    server.services.operators.add("ann", role="viewer", password=PASSWORD, actor="test")
    client = server.app.test_client()
    token = client.get("/console/login").text.split('name="csrf_token" value="')[1].split('"')[0]
    client.post("/console/login", data={"name": "ann", "password": PASSWORD, "csrf_token": token})
    assert "Too few clicks in the last week to tell" in client.get("/console/rollouts").text

    for number in range(60):
        device = server.enrollment.enroll(server.enrollment.new_code(valid_days=1), f"credential-{number:030d}")
        one = DeviceReport(number=1, kind="installed", channel="stable", release=1, bundle_id="b", timestamp_s=1.0)
        server.services.reports.store(ReportBatch(version=1, device_id=device, reports=[one]))
        kinds = ["impression"] * 90 + ["click"] * (13 + number % 7)
        events = [
            SequencedEvent(place, FeedbackEvent(kind=kind, product_id="p", timestamp_s=1.0, bundle_id="b"))
            for place, kind in enumerate(kinds, 1)
        ]
        server.ingest.store(FeedbackBatch(version=1, device_id=device, events=events))
    found = server.services.rollouts.sights("stable", RolloutPlan(stages=(50.0, 100.0), soak_hours=168))
    assert [stage.devices for stage in found] == [30, 0] and 0 < found[0].visible_loss < 1
    assert "What a rollout of stable could show" in client.get("/console/rollouts").text
    started = server.services.rollouts.start(channel="stable", release=None, plan=RolloutPlan(), actor="ann")
    assert "could show" not in client.get("/console/rollouts").text
    server.services.rollouts.act(started.id, "halt", actor="ann")
    assert "What a rollout of stable could show" in client.get("/console/rollouts").text
