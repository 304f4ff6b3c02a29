"""What devices report is counted as it arrives; the counts are those of a recount, and no look reads the reports."""

import importlib
import itertools
import secrets

import pytest
from sqlalchemy import delete, event, select, text

from edge_runtime.contract.reports import DeviceReport, ReportBatch
from sync_server.database.engine import read_session
from sync_server.database.tables.devices import DeviceReportRow
from sync_server.database.tables.rollouts import ReleaseLatency, RolloutReportCount, RolloutRow
from sync_server.rollouts.groups import side_of
from sync_server.rollouts.guardrails import measure
from sync_server.rollouts.plan import RolloutPlan
from sync_server.rollouts.report_counts import FAILURES, OWN_DISK, report_counts
from tests.support.fleet_bundles import publish_one_and_stage_two

HALVES = RolloutPlan(stages=(50.0, 100.0), soak_hours=1, hold_hours=48)
REACHING = ("installed", *FAILURES)
pytestmark = pytest.mark.usefixtures("database_url")


@pytest.fixture
def rollout(server, tmp_path, monkeypatch):
    count = itertools.count(1)
    monkeypatch.setattr(secrets, "token_hex", lambda size: f"{next(count):0{2 * size}x}")
    publish_one_and_stage_two(server, tmp_path)
    return server.services.rollouts.start(channel="stable", release=None, plan=HALVES, actor="ann")


def reports_of(rollout, place):
    """Return what a device reports: of the old release, of the new one, twice, out of a full disk, in another channel."""
    old = {"release": 1, "bundle_id": "one"}
    new = {"release": 2, "bundle_id": "two", "reason": rollout.id}
    every = [
        {"kind": "installed", "latency_ms": 2.0 + place % 5, **old},
        {"kind": "crashed", **old},
        {"kind": "install_failed", "error": OWN_DISK, **new},
        {"kind": "install_failed", "error": "SignatureError", **new},
        {"kind": "installed", "latency_ms": 5_000.0 if place == 14 else 3.0, **new},
        {"kind": "crashed", **new},
        {"kind": "crashed", **new},
        {"kind": "went_back", **old},
        {"kind": "proof_failed", "error": OWN_DISK, **old},
        {"kind": "proof_failed", "error": "GoldenAnswersError", **old},
        {"kind": "crashed", "channel": "canary", **new},
    ]
    chosen = [one for number, one in enumerate(every) if (place >> number % 6) & 1 or (place + number) % 3 == 0]
    return [
        DeviceReport(number=number, timestamp_s=1.0, **{"channel": "stable", **one})
        for number, one in enumerate(chosen, 1)
    ]


def report_all(server, rollout):
    for place in range(60):
        batch = ReportBatch(version=1, device_id=f"device-{place}", reports=reports_of(rollout, place))
        server.services.reports.store(batch)
        server.services.reports.store(batch)


def recount(session, rollout, *, share=0.5):
    """Return the counts by (side, kind), from the stored reports."""
    devices = {}
    for row in session.scalars(select(DeviceReportRow).where(DeviceReportRow.channel == "stable")):
        side, failed = side_of(rollout.id, row.device_id, share), row.kind in FAILURES and row.error != OWN_DISK
        found = []
        if row.reason == rollout.id:
            found += [("offered", "reached")] * (row.kind in REACHING) + [("offered", row.kind)] * failed
            found += [("new", "reached")] * (row.kind in REACHING and side == "new")
        elif side == "old" and failed:
            found = [("old", row.kind)]
        for key in found:
            devices.setdefault(key, set()).add(row.device_id)
    return {key: len(names) for key, names in devices.items()}


def test_counts_are_those_of_the_stored_reports(server, rollout):
    report_all(server, rollout)
    with read_session(server.engine) as session:
        counts = report_counts(session, rollout.id)
        assert counts == recount(session, rollout)
        assert set(counts) >= {("offered", "crashed"), ("new", "reached"), ("old", "crashed"), ("old", "proof_failed")}
        measured = measure(session, session.get_one(RolloutRow, rollout.id))
    assert measured.devices == counts["offered", "reached"]
    new, old = measured.sides["latency"].new, measured.sides["latency"].old
    assert old.n == pytest.approx(sum(2.0 + place % 5 for place in range(60) if place & 1 or place % 3 == 0))
    assert (new.n, new.nn) == (3.0 * (new.devices - 1) + 1_000.0, 9.0 * (new.devices - 1) + 1e6)


def test_no_look_reads_reports_or_events(server, rollout):
    report_all(server, rollout)
    statements = []
    event.listen(server.engine, "before_cursor_execute", lambda *words: statements.append(words[2]))
    server.pass_time(minutes=2)
    assert server.services.rollouts.tick()
    assert any("rollout_report_counts" in statement for statement in statements)
    assert not any("device_reports" in statement or "FROM events" in statement for statement in statements)


def test_rollout_under_way_keeps_what_was_reported_before_the_upgrade(server, rollout):
    report_all(server, rollout)
    counted = select(RolloutReportCount.kind, RolloutReportCount.devices).where(RolloutReportCount.side == "offered")
    latencies = select(ReleaseLatency.release, ReleaseLatency.devices, ReleaseLatency.total_ms)
    migration = importlib.import_module("sync_server.database.migrations.versions.r0013_report_counts")
    with server.engine.begin() as connection:
        before = [sorted(map(tuple, connection.execute(query))) for query in (counted, latencies)]
        connection.execute(delete(RolloutReportCount))
        connection.execute(delete(ReleaseLatency))
        for statement in (migration._LATENCIES, migration._REACHED, migration._FAILED):
            connection.execute(text(statement))
        assert [sorted(map(tuple, connection.execute(query))) for query in (counted, latencies)] == before
