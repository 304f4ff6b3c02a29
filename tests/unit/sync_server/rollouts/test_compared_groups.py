"""The two groups of a rollout: equal, drawn by one hash, counted by day as events arrive; nobody else counts."""

import itertools
import secrets

import numpy as np
import pytest
from sqlalchemy import func, insert, select

from benchmarks.fleet.rollouts import HARMLESS, KINDS, Model, simulate, visible
from edge_runtime.contract.cohort import BUCKETS, in_share
from edge_runtime.contract.events import FeedbackBatch, FeedbackEvent, SequencedEvent
from edge_runtime.contract.reports import DeviceReport, ReportBatch
from sync_server.database.engine import read_session
from sync_server.database.tables.devices import Device
from sync_server.database.tables.events import Event
from sync_server.database.tables.rollouts import RolloutDay
from sync_server.rollouts.day_counts import day_counts
from sync_server.rollouts.groups import CELLS, cell_of, compared_places, side_of
from sync_server.rollouts.plan import RolloutPlan
from tests.support.fleet_bundles import publish_one_and_stage_two

HALVES = RolloutPlan(stages=(50.0, 100.0), soak_hours=1, hold_hours=48)
on_both_databases = pytest.mark.usefixtures("database_url")


@pytest.fixture(autouse=True)
def _counted_names(monkeypatch):
    """Devices and rollouts get ids that count up instead of random ones: the same devices are compared each time."""
    count = itertools.count(1)
    monkeypatch.setattr(secrets, "token_hex", lambda size: f"{next(count):0{2 * size}x}")


@pytest.fixture
def server(server, tmp_path):
    publish_one_and_stage_two(server, tmp_path)
    return server


def start(server, plan=HALVES):
    return server.services.rollouts.start(channel="stable", release=None, plan=plan, actor="ann")


def enrolled(server, count):
    names = [f"device-{secrets.token_hex(8)}" for _ in range(count)]
    with server.engine.begin() as connection:
        rows = [{"device_id": name, "credential_sha256": name, "enrolled_at_s": 0.0} for name in names]
        connection.execute(insert(Device), rows)
    return names


def on_side(rollout, devices, side, share=0.5):
    return [device for device in devices if side_of(rollout.id, device, share) == side]


def send(server, device, *, impressions, clicks, first=1, bundle_id="any"):
    kinds = ["impression"] * impressions + ["click"] * clicks
    events = [
        SequencedEvent(place, FeedbackEvent(kind=kind, product_id="p", timestamp_s=1.0, bundle_id=bundle_id))
        for place, kind in enumerate(kinds, first)
    ]
    return server.ingest.store(FeedbackBatch(version=1, device_id=device, events=events))


def report(server, device, number=1, kind="installed", channel="stable", release=2, **fields):
    one = DeviceReport(
        number=number, kind=kind, channel=channel, release=release, bundle_id="b", timestamp_s=1.0, **fields
    )
    server.services.reports.store(ReportBatch(version=1, device_id=device, reports=[one]))


def judge_after(server, rollout, hours):
    server.pass_time(hours=hours)
    server.services.rollouts.tick()
    return server.services.rollouts.find(rollout.id)


def guardrail(status, name):
    return next(found for found in status.guardrails if found.name == name)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.25, 0.5, 0.6, 0.9, 0.95, 1.0])
def test_sides_are_equally_large_and_only_one_is_offered_the_release(share):
    devices = [f"device-{number}" for number in range(4_000)]
    sides = {device: side_of("seed", device, share) for device in devices}
    assert all(in_share("seed", device, share) for device, side in sides.items() if side == "new")
    assert not any(in_share("seed", device, share) for device, side in sides.items() if side == "old")
    places = compared_places(share)
    assert places == round(min(share, 1 - share) * BUCKETS)
    for side in ("new", "old"):
        expected = 4_000 * places / BUCKETS
        assert list(sides.values()).count(side) == pytest.approx(expected, abs=5 * expected**0.5)


def test_cells_do_not_depend_on_the_place():
    devices = [f"device-{number}" for number in range(20_000)]
    cells = [cell_of("seed", device) for device in devices if side_of("seed", device, 0.05) == "new"]
    assert min(cells) >= 0 and max(cells) < CELLS
    assert np.bincount(cells, minlength=CELLS).max() < 4 * len(cells) / CELLS


@on_both_databases
def test_fewer_clicks_of_who_was_offered_the_release_halt_the_rollout(server):
    rollout = start(server)
    devices = enrolled(server, 240)
    for device in devices:
        worse = side_of(rollout.id, device, 0.5) == "new"
        send(server, device, impressions=30, clicks=2 if worse else 9)
    halted = judge_after(server, rollout, 0.2)
    assert halted.state == "halted" and "click-through changed by" in halted.reason
    clicks = guardrail(halted, "click_through")
    assert clicks.verdict == "harm" and clicks.upper < 0
    assert clicks.devices == min(len(on_side(rollout, devices, side)) for side in ("new", "old"))


def test_equal_clicks_let_the_stage_pass_once_a_loss_is_ruled_out(server):
    rollout = start(server)
    devices = enrolled(server, 240)
    report(server, on_side(rollout, devices, "new")[0], reason=rollout.id)
    for place, device in enumerate(devices[:160]):
        send(server, device, impressions=10, clicks=place % 2)
    waiting = judge_after(server, rollout, 2)
    assert waiting.stage == 0 and "click_through" in waiting.reason
    for place, device in enumerate(devices):
        send(server, device, impressions=60, clicks=12 + place % 3, first=100)
    assert judge_after(server, rollout, 0.1).stage == 1


@on_both_databases
def test_counts_are_those_of_the_stored_events(server):
    """Over two days and stages, with batches that overlap, come twice, or come from devices that are not compared."""
    rollout = start(server, RolloutPlan(stages=(30.0, 60.0, 100.0), soak_hours=1))
    devices = enrolled(server, 40)
    started = []
    for round_, first in enumerate((1, 4, 4, 12)):
        started.append(server.now.timestamp())
        for place, device in enumerate(devices):
            send(server, device, impressions=3 + place % 4, clicks=place % 3, first=first)
        server.pass_time(hours=20)
        if round_ == 1:
            server.services.rollouts.act(rollout.id, "advance", actor="ann")
    with read_session(server.engine) as session:
        counts = day_counts(session, rollout.id)
        recount = {}
        for event in session.scalars(select(Event)):
            stage = int(event.received_at_s >= started[2])
            side = side_of(rollout.id, event.device_id, (0.3, 0.6)[stage])
            if side is not None:
                key = (stage, int(event.received_at_s // 86_400), side, cell_of(rollout.id, event.device_id))
                sums = recount.setdefault(key, {"impression": 0, "click": 0})
                sums[event.kind] += 1
        rows = session.scalars(select(RolloutDay)).all()
    assert {
        (row.stage, row.day, row.side, row.cell): {"impression": row.impressions, "click": row.clicks}
        for row in rows
        if row.impressions or row.clicks
    } == recount
    assert counts.clicks.sum() == sum(row.clicks for row in rows) > 0
    assert counts.devices == min(len(on_side(rollout, devices, side, 0.4)) for side in ("new", "old"))


def test_rows_do_not_grow_with_events(server):
    rollout = start(server)
    device = on_side(rollout, enrolled(server, 10), "new")[0]
    for first in range(1, 100, 10):
        send(server, device, impressions=8, clicks=2, first=first)
    with read_session(server.engine) as session:
        row = session.scalars(select(RolloutDay)).one()
    assert (row.devices, row.impressions, row.clicks) == (1, 80, 20)


def test_devices_of_another_channel_do_not_count(server):
    """The bundle may have been in `canary` before: its devices have clicked on it for weeks."""
    devices = enrolled(server, 40)
    for device in devices[:20]:
        report(server, device, channel="canary", release=7)
    rollout = start(server)
    for device in devices:
        send(server, device, impressions=5, clicks=1, bundle_id=rollout.bundle_id)
    with read_session(server.engine) as session:
        assert session.scalar(select(func.sum(RolloutDay.devices))) == 20
        assert session.scalar(select(func.sum(RolloutDay.impressions))) == 100


def test_stage_without_a_comparison_is_judged_by_the_stages_before(server):
    rollout = start(server)
    for place, device in enumerate(enrolled(server, 240)):
        send(server, device, impressions=40, clicks=9 + place % 3)
    server.services.rollouts.act(rollout.id, "advance", actor="ann")
    before = guardrail(judge_after(server, rollout, 0.1), "click_through")
    for device in enrolled(server, 20):
        send(server, device, impressions=40, clicks=0)
    after = guardrail(judge_after(server, rollout, 0.1), "click_through")
    assert before.limit == -HALVES.max_click_drop[0], "the limit of the last stage that compared"
    assert (after.estimate, after.devices) == (before.estimate, before.devices)


def test_crashes_that_both_sides_have_are_not_the_releases(server):
    devices = enrolled(server, 240)
    rollout = start(server)
    sides = [on_side(rollout, devices, side)[:80] for side in ("new", "old")]
    for device in sides[0]:
        report(server, device, reason=rollout.id)
    for place, device in enumerate(sides[0][:20]):
        report(server, device, number=2, kind="crashed", reason=rollout.id)
        report(server, sides[1][place], number=2, kind="crashed", release=1)
        report(server, sides[1][place], number=3, kind="crashed", release=1)
    found = guardrail(judge_after(server, rollout, 0.1), "crashed")
    assert (found.verdict, found.estimate) == ("fine", 0.25)
    assert found.limit == pytest.approx(0.02 + 0.25)
    assert server.services.rollouts.find(rollout.id).state == "running"


def test_full_disk_of_a_device_is_not_the_releases_fault(server):
    rollout = start(server)
    devices = on_side(rollout, enrolled(server, 100), "new")
    for device in devices[:30]:
        report(server, device, kind="install_failed", reason=rollout.id, error="StorageError")
    assert judge_after(server, rollout, 0.1).state == "running"
    for device in devices[30:]:
        report(server, device, kind="install_failed", reason=rollout.id, error="SignatureError")
    assert judge_after(server, rollout, 0.1).state == "halted"


# Simulated fleets, with the server's own groups and decisions


SMALL_FLEET = 20_000


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_harmless_rollouts_complete_in_every_kind_of_fleet(kind):
    ends = [simulate(HARMLESS, RolloutPlan(), devices=SMALL_FLEET, seed=seed, kind=kind).action for seed in range(10)]
    assert "halt" not in ends


def test_weekend_halts_no_harmless_rollout():
    """Pooled over the stages, 29 of 30 such rollouts were halted."""
    weekend = next(kind for kind in KINDS if kind.weekend == 0.95)
    ends = [simulate(HARMLESS, RolloutPlan(), devices=100_000, seed=seed, kind=weekend).action for seed in range(10)]
    assert ends == ["complete"] * 10


def test_twice_the_loss_that_a_stage_shows_is_found_within_it():
    plan = RolloutPlan()
    model = Model("worse", clicks=1 - 2 * visible(plan, 1, devices=SMALL_FLEET))
    found = [simulate(model, plan, devices=SMALL_FLEET, seed=seed) for seed in range(20)]
    assert sum(one.action == "halt" and one.stage <= 1 for one in found) >= 16


def test_crashing_release_is_halted_before_a_fiftieth_of_the_fleet_has_it():
    model = Model("crashing", crashed=0.06)
    found = [simulate(model, RolloutPlan(), devices=100_000, seed=seed) for seed in range(5)]
    assert all(one.action == "halt" and one.exposed < 0.02 for one in found)
