"""The scheduler goes on whatever happens, and the age of the last judgement shows when it fails."""

import threading

import pytest
from sqlalchemy import update

from sync_server.database.tables.rollouts import RolloutRow
from sync_server.rollouts.plan import RolloutPlan
from sync_server.rollouts.scheduler import run_scheduler
from tests.support.fleet_bundles import publish_one_and_stage_two

pytestmark = pytest.mark.usefixtures("database_url")


@pytest.fixture
def rollout(server, tmp_path):
    publish_one_and_stage_two(server, tmp_path)
    plan = RolloutPlan(stages=(100.0,), soak_hours=1, hold_hours=48)
    return server.services.rollouts.start(channel="stable", release=None, plan=plan, actor="ann")


def age_s(server):
    name = "pocketrec_rollout_judgement_age_seconds "
    (line,) = [line for line in server.client.get("/metrics").text.splitlines() if line.startswith(name)]
    return float(line.removeprefix(name))


@pytest.mark.parametrize("error", [KeyError("bundle"), OSError(24, "Too many open files"), ValueError("odd")])
def test_scheduler_survives_any_exception_and_judges_again(server, error, caplog):
    looks, stop = [], threading.Event()

    class Failing:
        def tick(self):
            looks.append(1)
            if len(looks) == 3:
                stop.set()
            raise error

    run_scheduler(stop, Failing(), server.services.offers, every_s=0.001)
    assert len(looks) == 3 and "not judged" in caplog.text


def test_rollout_that_cannot_be_judged_stays_due_and_its_age_grows(server, rollout, caplog):
    server.pass_time(minutes=2)
    assert [status.id for status in server.services.rollouts.tick()] == [rollout.id]
    assert age_s(server) == 0
    with server.engine.begin() as connection:
        plan = '{"of_a_newer_version": 1}'
        connection.execute(update(RolloutRow).values(plan=plan))
    for _ in range(3):
        server.pass_time(minutes=2)
        assert server.services.rollouts.tick() == []
    assert age_s(server) == pytest.approx(360, abs=0.01) and "was not judged" in caplog.text


def test_without_a_running_rollout_no_judgement_is_late(server):
    server.pass_time(days=2)
    assert age_s(server) == 0
