"""What one device counts in a day is capped, so that bots and heavy users do not make a rollout wait for evidence."""

import secrets

import pytest
from sqlalchemy import func, insert, select

from benchmarks.fleet.rollouts import HARMLESS, KINDS, simulate
from edge_runtime.contract.events import FeedbackBatch, FeedbackEvent, SequencedEvent
from edge_runtime.contract.reports import DeviceReport, ReportBatch
from sync_server.database.engine import read_session
from sync_server.database.tables.devices import Device
from sync_server.database.tables.rollouts import RolloutDay
from sync_server.rollouts.daily_cap import MOST_CLICKS_A_DAY, MOST_IMPRESSIONS_A_DAY, Counted
from sync_server.rollouts.groups import side_of
from sync_server.rollouts.plan import RolloutPlan
from tests.support.fleet_bundles import publish_one_and_stage_two

HALVES = RolloutPlan(stages=(50.0, 100.0), soak_hours=1, hold_hours=48)


def send(server, device, *, impressions, clicks, first=1):
    kinds = ["impression"] * impressions + ["click"] * clicks
    events = [
        SequencedEvent(place, FeedbackEvent(kind=kind, product_id="p", timestamp_s=1.0, bundle_id="b"))
        for place, kind in enumerate(kinds, first)
    ]
    return server.ingest.store(FeedbackBatch(version=1, device_id=device, events=events))


def enrolled(server, count):
    names = [f"device-{secrets.token_hex(8)}" for _ in range(count)]
    with server.engine.begin() as connection:
        rows = [{"device_id": name, "credential_sha256": name, "enrolled_at_s": 0.0} for name in names]
        connection.execute(insert(Device), rows)
    return names


def test_first_events_of_a_day_count_and_the_next_day_begins_anew():
    today = Counted().plus(at_s=86_400.0, impressions=60, clicks=5).plus(at_s=86_401.0, impressions=80, clicks=8)
    assert today == (1, MOST_IMPRESSIONS_A_DAY, 5 + 4), "half of the second batch fits, and half of its clicks"
    assert today.plus(at_s=90_000.0, impressions=10, clicks=3) == today
    assert today.plus(at_s=2 * 86_400.0, impressions=1, clicks=1) == (2, 1, 1)


def test_who_clicks_everything_counts_no_more_than_the_cap():
    assert Counted().plus(at_s=0.0, impressions=90, clicks=90) == (0, 90, MOST_CLICKS_A_DAY)


@pytest.mark.usefixtures("database_url")
def test_server_counts_a_bot_once_a_day_up_to_the_cap(server, tmp_path):
    publish_one_and_stage_two(server, tmp_path)
    rollout = server.services.rollouts.start(channel="stable", release=None, plan=HALVES, actor="ann")
    bot = next(device for device in enrolled(server, 20) if side_of(rollout.id, device, 0.5))
    for day in range(2):
        for batch in range(3):
            assert send(server, bot, impressions=300, clicks=200, first=1 + 500 * (3 * day + batch)).stored == 500
        server.pass_time(hours=24)
    with read_session(server.engine) as session:
        columns = (func.count(), func.sum(RolloutDay.impressions), func.sum(RolloutDay.clicks))
        assert tuple(session.execute(select(*columns)).one()) == (2, 2 * MOST_IMPRESSIONS_A_DAY, 2 * MOST_CLICKS_A_DAY)


def test_bot_changes_little_of_what_a_rollout_is_said_to_show(server, tmp_path):
    publish_one_and_stage_two(server, tmp_path)
    devices = enrolled(server, 100)
    for place, device in enumerate(devices):
        one = DeviceReport(number=1, kind="installed", channel="stable", release=1, bundle_id="b", timestamp_s=1.0)
        server.services.reports.store(ReportBatch(version=1, device_id=device, reports=[one]))
        send(server, device, impressions=60, clicks=2 + place % 7)
    without = server.services.rollouts.sights("stable", HALVES)[0].visible_loss
    send(server, devices[0], impressions=300, clicks=600, first=1_000)
    assert server.services.rollouts.sights("stable", HALVES)[0].visible_loss == pytest.approx(without, rel=0.2)


@pytest.mark.parametrize("name", ["bots", "heavy users"])
def test_harmless_rollouts_complete_among(name):
    """Without the cap each rollout among bots pauses after two weeks without evidence, and some among heavy users."""
    kind = next(kind for kind in KINDS if kind.name == name)
    ends = [simulate(HARMLESS, RolloutPlan(), devices=100_000, seed=seed, kind=kind).action for seed in range(5)]
    assert ends == ["complete"] * 5
