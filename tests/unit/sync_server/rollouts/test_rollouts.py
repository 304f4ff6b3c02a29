"""Rollouts and experiments on the server's own code: stages, guardrails, going back, and who may say so."""

import json

import pytest
from sqlalchemy import event

from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.events import FeedbackBatch, FeedbackEvent, SequencedEvent
from edge_runtime.contract.offer import VariantOffer, assign, decode_offer
from edge_runtime.contract.reports import DeviceReport, ReportBatch
from sync_server.errors import RequestError
from sync_server.rollouts.plan import RolloutPlan
from tests.support.fleet_bundles import publish_one_and_stage_two, write_bundle

PLAN = RolloutPlan(stages=(10.0, 50.0, 100.0), soak_hours=1, hold_hours=48)


on_both_databases = pytest.mark.usefixtures("database_url")


@pytest.fixture
def server(server, tmp_path):
    publish_one_and_stage_two(server, tmp_path)
    return server


def start(server, plan=PLAN, **options):
    return server.services.rollouts.start(channel="stable", release=None, plan=plan, actor="ann", **options)


def offer(server, channel="stable"):
    server.services.offers.forget()
    answer = server.client.get(f"/v1/channels/{channel}/offer")
    assert answer.status_code == 200, answer.data
    return decode_offer(answer.data)


def report(server, device, number=1, kind="installed", release=2, reason=None, **fields):
    notes = server.services.rollouts.signed("stable")
    one = DeviceReport(
        number=number,
        kind=kind,
        channel="stable",
        release=release,
        bundle_id=notes[release].bundle_id,
        timestamp_s=1.0,
        reason=reason,
        **fields,
    )
    return server.services.reports.store(ReportBatch(version=1, device_id=device, reports=[one]))


def click(server, device, release, *, impressions, clicks, first=1, **fields):
    bundle_id = server.services.rollouts.signed("stable")[release].bundle_id
    kinds = ["impression"] * impressions + ["click"] * clicks
    events = [
        SequencedEvent(
            first + place,
            FeedbackEvent(kind=kind, product_id="p", timestamp_s=1.0, bundle_id=bundle_id, **fields),
        )
        for place, kind in enumerate(kinds)
    ]
    return FeedbackBatch(version=1, device_id=device, events=events)


def enrolled(server, count):
    return [
        server.enrollment.enroll(server.enrollment.new_code(valid_days=1), f"credential-{n:030d}") for n in range(count)
    ]


def judge_after(server, rollout, hours):
    server.pass_time(hours=hours)
    server.services.rollouts.tick()
    return server.services.rollouts.find(rollout.id)


def test_staged_release_is_offered_to_nobody_before_its_rollout(server):
    found = offer(server)
    assert (found.release, found.rollout, found.experiment) == (1, None, None)


def test_first_stage_reaches_its_share_and_the_rest_keeps_the_old_release(server):
    rollout = start(server)
    found = offer(server)
    chosen = [assign(found, device_id=f"d{n}", installed_release=1).release for n in range(2_000)]
    assert set(chosen) == {1, 2} and 0.07 < chosen.count(2) / 2_000 < 0.13
    assert found.rollout.id == rollout.id and found.release == 1


@on_both_databases
def test_stages_advance_after_their_soak_until_all_have_it(server):
    rollout = start(server)
    report(server, "d1", reason=rollout.id)
    assert judge_after(server, rollout, 0.5).stage == 0
    assert "soaks" in server.services.rollouts.find(rollout.id).reason
    assert [judge_after(server, rollout, 1.1).share for _ in range(2)] == [0.5, 1.0]
    done = judge_after(server, rollout, 1.1)
    assert done.state == "completed"
    found = offer(server)
    assert (found.release, found.rollout) == (2, None)
    actions = [step.action for step in server.services.rollouts.history(rollout.id)]
    assert actions == ["start", "advance", "advance", "complete"]


def test_stage_waits_for_devices_and_then_for_the_operator(server):
    rollout = start(server, RolloutPlan(stages=(100.0,), soak_hours=1, hold_hours=48, min_devices=2))
    assert judge_after(server, rollout, 2).state == "running"
    paused = judge_after(server, rollout, 50)
    assert paused.state == "paused" and "2 devices" in paused.reason
    assert offer(server).rollout.accepting is False
    assert server.services.rollouts.act(rollout.id, "advance", actor="ann").state == "completed"


@pytest.mark.parametrize("kind", ["install_failed", "proof_failed", "crashed"])
def test_failures_halt_the_rollout_and_bring_its_devices_back(server, kind):
    rollout = start(server)
    for number in range(30):
        report(server, f"d{number}", reason=rollout.id)
    assert judge_after(server, rollout, 0.1).state == "running"
    for number in range(12):
        report(server, f"d{number}", number=2, kind=kind, reason=rollout.id)
    halted = judge_after(server, rollout, 0.1)
    assert halted.state == "halted" and kind.replace("_", "-") in halted.reason
    found = offer(server)
    assert (found.release, found.rollout) == (1, None)
    assert assign(found, device_id="d1", installed_release=2).release == 1


@on_both_databases
def test_slower_answers_halt_the_rollout(server):
    for number in range(80):
        report(server, f"old{number}", release=1, latency_ms=3.0 + number % 5)
    rollout = start(server)
    for number in range(80):
        report(server, f"new{number}", reason=rollout.id, latency_ms=9.0 + number % 5)
    halted = judge_after(server, rollout, 0.1)
    assert halted.state == "halted" and halted.reason.startswith("latency")


def test_paused_rollout_keeps_its_devices_and_takes_no_new_ones(server):
    rollout = start(server, RolloutPlan(stages=(100.0,)))
    server.services.rollouts.act(rollout.id, "pause", actor="ann", reason="holiday")
    found = offer(server)
    assert assign(found, device_id="d", installed_release=2).release == 2
    assert assign(found, device_id="d", installed_release=1).release == 1
    assert server.services.rollouts.find(rollout.id).reason == "holiday"
    server.services.rollouts.act(rollout.id, "resume", actor="ann")
    assert assign(offer(server), device_id="d", installed_release=1).release == 2


def test_completed_rollout_can_still_be_taken_back(server):
    rollout = start(server, RolloutPlan(stages=(100.0,), soak_hours=0))
    report(server, "d1", reason=rollout.id)
    assert judge_after(server, rollout, 1).state == "completed"
    assert server.services.rollouts.act(rollout.id, "halt", actor="ann").state == "halted"
    assert offer(server).release == 1


def test_release_for_all_takes_the_place_of_a_rollout(server, tmp_path):
    rollout = start(server)
    server.publish(write_bundle(tmp_path / "three", words="three"))
    found = offer(server)
    assert (found.release, found.rollout) == (3, None)
    assert judge_after(server, rollout, 0.1).state == "superseded"


def test_rollout_after_a_completed_one_starts_from_its_release(server, tmp_path):
    first = start(server, RolloutPlan(stages=(100.0,), soak_hours=0))
    report(server, "d1", reason=first.id)
    judge_after(server, first, 1)
    server.publish(write_bundle(tmp_path / "three", words="three"), staged=True)
    second = start(server)
    assert (second.base_release, second.release) == (2, 3)


def test_what_cannot_be_rolled_out_is_refused(server):
    rollouts = server.services.rollouts
    with pytest.raises(RequestError, match="no staged release 1"):
        rollouts.start(channel="stable", release=1, plan=PLAN, actor="ann")
    with pytest.raises(RequestError, match="nothing is published"):
        rollouts.start(channel="beta", release=None, plan=PLAN, actor="ann")
    for plan in (RolloutPlan(stages=(5.0, 1.0)), RolloutPlan(stages=()), RolloutPlan(alpha=2), RolloutPlan(hold_hours=1),
                 RolloutPlan(max_latency_ratio=0.5)):  # fmt: skip
        with pytest.raises(ConfigError):
            rollouts.start(channel="stable", release=None, plan=plan, actor="ann")
    started = start(server)
    with pytest.raises(RequestError, match="running or paused"):
        start(server)
    with pytest.raises(RequestError, match="cannot resume"):
        rollouts.act(started.id, "resume", actor="ann")
    with pytest.raises(RequestError, match="no such rollout"):
        rollouts.act("rollout-0", "halt", actor="ann")


@on_both_databases
def test_every_step_is_in_the_audit_log(server):
    rollout = start(server)
    server.services.rollouts.act(rollout.id, "halt", actor="bob", reason="a complaint")
    lines = [(entry.actor, entry.action) for entry in server.services.audit.newest(2)]
    assert lines == [("bob", "rollout halt"), ("ann", "rollout start")]
    server.services.audit.verify()


@on_both_databases
def test_rollouts_are_judged_once_a_minute_by_one_worker(server):
    start(server)
    rollouts = server.services.rollouts
    assert len(rollouts.tick()) == 1 and rollouts.tick() == []
    server.pass_time(seconds=61)
    assert len(rollouts.tick()) == 1


# Reports


@on_both_databases
def test_report_is_counted_once_however_often_it_is_sent(server):
    assert report(server, "d1").stored == 1
    assert report(server, "d1").stored == 0
    assert [(row.release, row.devices) for row in server.services.reports.releases()] == [(2, 1)]


@on_both_databases
def test_device_that_went_back_is_counted_where_it_is(server):
    report(server, "d1", number=1)
    report(server, "d1", number=2, kind="proof_failed", release=2)
    report(server, "d1", number=3, kind="went_back", release=1)
    assert [(row.release, row.devices) for row in server.services.reports.releases()] == [(1, 1)]
    assert server.services.reports.held_by(["d1", "d2"])["d1"].release == 1
    day = int(server.now.timestamp() // 86_400)
    assert server.services.reports.installed_by_day("stable") == [(day, 1, 1), (day, 2, 1)]


@on_both_databases
def test_erased_device_leaves_no_report(server):
    report(server, "d1")
    assert server.services.reports.forget("d1") == 1
    assert server.services.reports.releases() == []


def post(server, path, body, credential):
    return server.client.post(path, json=body, headers={"Authorization": f"Bearer {credential}"})


@pytest.fixture
def device(server):
    credential = "c" * 40
    return server.enrollment.enroll(server.enrollment.new_code(valid_days=1), credential), credential


def batch(device_id, **fields):
    one = {"number": 1, "kind": "crashed", "channel": "stable", "release": 1, "bundle_id": "b", "timestamp_s": 1.0}
    return {"version": 1, "device_id": device_id, "reports": [{**one, **fields}]}


def test_reports_come_from_the_device_that_they_name(server, device):
    name, credential = device
    assert post(server, "/v1/reports", batch(name), credential).json == {"acknowledged": 1, "stored": 1}
    assert post(server, "/v1/reports", batch("another"), credential).status_code == 403
    assert post(server, "/v1/reports", batch(name), "x" * 40).status_code == 401
    assert server.client.post("/v1/reports", json=batch(name)).status_code == 401


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "exploded"},
        {"number": 0},
        {"release": 0},
        {"latency_ms": -1.0},
        {"error": "x" * 300},
        {"query": "what somebody typed"},
    ],
)
def test_malformed_report_is_refused(server, device, fields):
    assert post(server, "/v1/reports", batch(device[0], **fields), device[1]).status_code == 400


def test_flood_of_reports_is_refused(server, device):
    many = batch(device[0])
    many["reports"] = [{**many["reports"][0], "number": n} for n in range(1, 102)]
    assert post(server, "/v1/reports", many, device[1]).status_code == 413
    many["reports"] = []
    assert post(server, "/v1/reports", many, device[1]).status_code == 400


# Over HTTP, with roles


def test_only_publishers_move_rollouts(server, device):
    body = {"channel": "stable", "plan": {"stages": [50, 100]}}
    assert post(server, "/v1/rollouts", body, device[1]).status_code == 403
    assert server.client.post("/v1/rollouts", json=body).status_code == 401
    started = server.client.post("/v1/rollouts", json=body, headers=server.publisher_headers)
    assert started.status_code == 201 and started.json["share"] == 0.5
    path = f"/v1/rollouts/{started.json['id']}"
    assert post(server, f"{path}/halt", {}, device[1]).status_code == 403
    done = server.client.post(f"{path}/halt", json={"reason": "looks odd"}, headers=server.publisher_headers)
    assert (done.json["state"], done.json["reason"]) == ("halted", "looks odd")
    shown = server.client.get(path, headers=server.publisher_headers).json
    assert [step["actor"] for step in shown["history"]] == ["publisher.token"] * 2 or len(shown["history"]) == 2
    assert server.client.post(f"{path}/explode", json={}, headers=server.publisher_headers).status_code == 404
    listed = server.client.get("/v1/rollouts", headers=server.publisher_headers).json["rollouts"]
    assert [rollout["id"] for rollout in listed] == [started.json["id"]]


def test_offer_of_a_channel_without_releases_is_404(server):
    assert server.client.get("/v1/channels/nightly/offer").status_code == 404
    assert server.client.get("/v1/channels/..%2fetc/offer").status_code == 404


def test_offer_that_a_device_has_is_not_sent_again(server):
    first = server.client.get("/v1/channels/stable/offer")
    again = server.client.get("/v1/channels/stable/offer", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    start(server)
    server.services.offers.forget()
    changed = server.client.get("/v1/channels/stable/offer", headers={"If-None-Match": first.headers["ETag"]})
    assert changed.status_code == 200 and changed.json["rollout"]["release"] == 2


# Experiments


ARMS = [VariantOffer("old", 1, 0.5), VariantOffer("new", 2, 0.5)]


def test_experiment_shares_devices_out_and_ends(server):
    experiments = server.services.experiments
    started = experiments.start(channel="stable", name="new model", variants=ARMS, actor="ann")
    found = offer(server)
    arms = [assign(found, device_id=f"d{n}", installed_release=1).variant for n in range(2_000)]
    assert arms.count("old") == pytest.approx(1_000, abs=120) and arms.count(None) == 0
    with pytest.raises(RequestError, match="has not ended"):
        experiments.start(channel="stable", name="another", variants=ARMS, actor="ann")
    assert experiments.stop(started.id, actor="ann").state == "ended"
    assert offer(server).experiment is None
    with pytest.raises(RequestError, match="ended already"):
        experiments.stop(started.id, actor="ann")


@on_both_databases
def test_experiment_shows_the_difference_with_its_interval(server):
    experiments = server.services.experiments
    started = experiments.start(channel="stable", name="new model", variants=ARMS, actor="ann")
    for place, device in enumerate(enrolled(server, 160)):
        arm = ARMS[place % 2]
        report(server, device, release=arm.release, reason=started.id, variant=arm.name)
        clicks = 2 + 4 * (place % 2) + place % 3
        server.ingest.store(
            click(server, device, arm.release, impressions=30, clicks=clicks, experiment=started.id, variant=arm.name)
        )
    found = experiments.find(started.id)
    old, new = found.arms
    assert (old.assigned, new.assigned, found.sample_ratio_mismatch) == (80, 80, False)
    assert old.difference is None and new.lower > 0 and new.lower < new.difference < new.upper
    assert new.difference == pytest.approx(4 / 30, abs=0.01)


def test_devices_that_were_not_shared_out_as_planned_are_noticed(server):
    started = server.services.experiments.start(channel="stable", name="skewed", variants=ARMS, actor="ann")
    for number, device in enumerate(enrolled(server, 200)):
        arm = ARMS[number % 4 == 0]
        shown = click(server, device, arm.release, impressions=1, clicks=0, experiment=started.id, variant=arm.name)
        server.ingest.store(shown)
    found = server.services.experiments.find(started.id)
    assert found.sample_ratio_mismatch and found.sample_ratio_p < 1e-6


@on_both_databases
def test_results_are_read_after_the_transaction_that_writes(server):
    experiments, steps = server.services.experiments, []
    started = experiments.start(channel="stable", name="x", variants=ARMS, actor="ann")
    event.listen(server.engine, "before_cursor_execute", lambda *words: steps.append(words[2]))
    event.listen(server.engine, "commit", lambda _connection: steps.append("commit"))
    assert experiments.stop(started.id, actor="ann").state == "ended"
    reads = [place for place, step in enumerate(steps) if "FROM events" in step]
    assert reads and steps.index("commit") < reads[0]


def test_variant_that_needs_a_download_first_is_no_mismatch(server):
    """The release of the other one was installed already, so that all of its devices report at their first sync."""
    started = server.services.experiments.start(channel="stable", name="fresh", variants=ARMS, actor="ann")
    for number in range(200):
        report(server, f"d{number}", release=1, reason=started.id, variant="old")
    found = server.services.experiments.find(started.id)
    assert [arm.assigned for arm in found.arms] == [200, 0]
    assert not found.sample_ratio_mismatch and found.sample_ratio_p == 1.0


@on_both_databases
def test_interleaved_lists_are_counted_by_device(server):
    started = server.services.experiments.start(channel="stable", name="interleaved", variants=[], actor="ann")
    for place, device in enumerate(enrolled(server, 30)):
        team = "a" if place < 3 else "b"
        server.ingest.store(
            click(server, device, 1, impressions=2, clicks=1 + place % 2, experiment=started.id, team=team)
        )
    teams = server.services.experiments.find(started.id).teams
    assert (teams.a_wins, teams.b_wins, teams.ties) == (3, 27, 0)
    assert teams.lower > 0.5


@pytest.mark.parametrize(
    "arms",
    [
        ARMS[:1],
        [ARMS[0], ARMS[0]],
        [VariantOffer("a", 1, 0.7), VariantOffer("b", 2, 0.7)],
        [VariantOffer("a", 1, 0.0), VariantOffer("b", 2, 1.0)],
        [VariantOffer("", 1, 0.5), VariantOffer("b", 2, 0.5)],
    ],
)
def test_malformed_experiment_is_refused(server, arms):
    with pytest.raises(ConfigError):
        server.services.experiments.start(channel="stable", name="x", variants=arms, actor="ann")


def test_experiment_with_an_unsigned_release_is_refused(server):
    with pytest.raises(RequestError, match="no signed release 9"):
        server.services.experiments.start(
            channel="stable", name="x", variants=[ARMS[0], VariantOffer("b", 9, 0.5)], actor="ann"
        )


def test_experiments_over_http(server, device):
    body = {"channel": "stable", "name": "x", "arms": [["old", 1, 0.5]]}
    body["arms"] = [{"name": arm.name, "release": arm.release, "weight": arm.weight} for arm in ARMS]
    assert post(server, "/v1/experiments", body, device[1]).status_code == 403
    started = server.client.post("/v1/experiments", json=body, headers=server.publisher_headers)
    assert started.status_code == 201
    path = f"/v1/experiments/{started.json['id']}"
    assert server.client.get(path, headers=server.publisher_headers).json["state"] == "running"
    assert server.client.post(f"{path}/stop", headers=server.publisher_headers).json["state"] == "ended"
    listed = server.client.get("/v1/experiments", headers=server.publisher_headers)
    assert json.loads(listed.data)["experiments"][0]["name"] == "x"
    assert server.client.get("/v1/fleet/releases", headers=server.publisher_headers).json == {"releases": []}
