"""Rollouts and experiments that are started at the same moment: one is under way, the others are told so."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from edge_runtime.contract.offer import VariantOffer
from sync_server.database.tables.rollouts import RolloutRow
from sync_server.errors import RequestError
from sync_server.rollouts.plan import RolloutPlan
from tests.support.fleet_bundles import publish_one_and_stage_two

ARMS = [VariantOffer("old", 1, 0.5), VariantOffer("new", 2, 0.5)]
STARTS = 6


pytestmark = pytest.mark.usefixtures("database_url")


@pytest.fixture
def server(server, tmp_path):
    publish_one_and_stage_two(server, tmp_path)
    return server


def start(server):
    return server.services.rollouts.start(channel="stable", release=None, plan=RolloutPlan(), actor="ann")


def experiment(server):
    return server.services.experiments.start(channel="stable", name="test", variants=ARMS, actor="ann")


@pytest.mark.parametrize("begin", [start, experiment])
def test_of_those_that_start_at_the_same_moment_one_is_under_way(server, begin):
    together = threading.Barrier(STARTS)

    def one(_):
        together.wait()
        try:
            return begin(server).state
        except RequestError as error:
            return error.status_code

    with ThreadPoolExecutor(STARTS) as pool:
        assert sorted(pool.map(one, range(STARTS)), key=str) == [409] * (STARTS - 1) + ["running"]


def test_database_itself_refuses_a_second_rollout_under_way(server):
    start(server)
    with server.engine.begin() as connection:
        row = connection.execute(select(RolloutRow.__table__)).mappings().one()
    with pytest.raises(IntegrityError), server.engine.begin() as connection:
        connection.execute(insert(RolloutRow), {**row, "rollout_id": "another"})


def test_rollout_that_ended_makes_way_for_the_next(server):
    first = start(server)
    server.services.rollouts.act(first.id, "halt", actor="ann")
    assert start(server).state == "running"
