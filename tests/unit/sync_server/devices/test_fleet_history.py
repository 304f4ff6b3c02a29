"""What the charts of the console are made of."""

import math

import pytest

from sync_server.console.charts import short_number, stacked, with_intervals
from sync_server.console.filters import duration, moment
from sync_server.devices.fleet_history import FleetHistory
from sync_server.events.flow import feedback_flow
from sync_server.statistics.confidence_sequences import EstimateAt
from tests.support.console_fleet import fleet_with_a_past


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    simulator = fleet_with_a_past(tmp_path_factory.mktemp("past") / "sim", devices=40)
    yield simulator
    simulator.close()


def test_hour_is_written_once_by_whichever_worker(server):
    now = server.now.timestamp()
    workers = [FleetHistory(server.engine, lambda: now + 7_200) for _ in range(2)]
    assert [worker.record_if_due() for worker in (*workers, workers[0])] == [True, False, False]
    versions = workers[0].versions(days=1)
    assert sum(counts[-1] for counts in versions.counts.values()) == sum(workers[0].now().values())


def test_versions_have_one_count_per_hour(server):
    versions = FleetHistory(server.engine, lambda: server.now.timestamp()).versions(days=3)
    assert all(len(counts) == len(versions.hours_s) for counts in versions.counts.values())
    assert versions.hours_s == sorted(versions.hours_s)


def test_flow_counts_every_event_of_the_day_once(server):
    flow = feedback_flow(server.engine, lambda: server.now.timestamp(), hours=24)
    per_slice_minutes = 24 * 60 / len(flow.times_s)
    counted = sum(rate * per_slice_minutes for rates in flow.per_minute.values() for rate in rates)
    assert counted == pytest.approx(flow.events) and flow.events == 4_000
    assert 0 < flow.lag_p50_s < flow.lag_p95_s


def test_flow_of_an_empty_server_is_empty(server):
    flow = feedback_flow(server.engine, lambda: server.now.timestamp() + 10 * 86_400)
    assert (flow.events, flow.newest_s, flow.lag_p50_s) == (0, None, None)


@pytest.mark.parametrize(
    ("most", "marks"), [(1, ["0", "1"]), (3, ["0", "1", "2", "3", "4", "5"]), (22, ["0", "5", "10", "15", "20", "25"])]
)
def test_axis_of_counts_has_no_part_of_a_device(most, marks):
    chart = stacked("x", [0.0, 3_600.0], [("a", [0, most])])
    assert [tick.text for tick in chart.y_ticks] == marks


def test_chart_with_nothing_to_show_is_none():
    assert stacked("x", [], []) is None and stacked("x", [1.0], [("a", [1.0])]) is None
    assert with_intervals("x", []) is None


def test_layers_lie_on_one_another_within_the_frame():
    chart = stacked("x", [0.0, 3_600.0], [("a", [10, 20]), ("b", [30, 40])])
    assert [tick.text for tick in chart.y_ticks] == ["0", "25", "50", "75", "100"]
    top = chart.bottom - 60 / 100 * (chart.bottom - chart.top)
    assert f"{chart.right},{top:g}" in chart.bands[1].path


def test_infinite_interval_reaches_to_the_edge():
    points = [EstimateAt(0.0, -math.inf, 0.01, math.inf), EstimateAt(60.0, -0.01, 0.01, 0.03)]
    chart = with_intervals("x", [("canary", points)], limit=0.05, percent=True)
    assert "inf" not in chart.bands[0].path and chart.lines[-1].name == "limit"
    assert chart.lines[0].newest == "1.00%"


def test_numbers_and_times_are_short():
    assert [short_number(value) for value in (3, 12_400.0, 2_500_000, 0.03125)] == ["3", "12,400", "2.5 M", "0.0312"]
    assert (moment(0), moment(None)) == ("1970-01-01 00:00", "–")
    assert [duration(value) for value in (None, 4.0, 50.0, 720.0, 10_800.0, 864_000.0)] == [
        "–",
        "4.0 s",
        "50 s",
        "12 min",
        "3 h",
        "10 days",
    ]
