"""The table of the fleet's figures says what was measured, and what was not."""

from benchmarks.fleet.sync_table import MISSING, figure_table, figures


def part(figures_of_it):
    return {"figures": figures_of_it}


def test_parts_that_have_not_run_say_so():
    assert {item.measured for item in figures({})} == {MISSING}
    assert len(figures({})) >= 10


def test_measured_figures_stand_beside_what_was_to_be_reached():
    result = {
        "load": part(
            {
                "storing": [
                    {"database": "PostgreSQL", "events_per_second": 12345.6},
                    {"database": "SQLite", "events_per_second": 23456.7},
                ],
                "freshness": {
                    "answers_per_second": 4321.0,
                    "answers_per_second_under_feedback": 2000.0,
                    "p99_ms_under_feedback": 33.3,
                    "feedback_events_per_second": 9000.0,
                },
            }
        ),
        "fleet": part({"lost": 0, "doubled": 0, "events": 1000, "devices": 10, "server_crashes": 3}),
        "idle": part({"sent_bytes": 300, "received_bytes": 200, "requests": 1}),
        "deltas": part(
            [
                {"change": "model, retrained", "file": "all", "of_full": 0.031},
                {"change": "catalogue, 1% mixed", "file": "all", "of_full": 0.012},
                {"change": "catalogue, 1% mixed", "file": "one", "of_full": 0.9},
            ]
        ),
        "rollouts": part(
            [
                {"model": {"name": "harmless", "harmful": False}, "halted": 0.01, "rollouts": 1000},
                {"model": {"name": "bad", "harmful": True}, "exposed_mean": 0.044},
                {"model": {"name": "worse", "harmful": True}, "exposed_mean": 0.02},
            ]
        ),
    }
    table = figure_table(result)
    for measured in (
        "12,346",
        "23,457",
        "4,321",
        "33.3 ms",
        "0 lost, 0 doubled of 1,000",
        "500 bytes, 1",
        "3.10%",
        "1.20%",
    ):
        assert measured in table
    assert "4.4%" in table and "1.0%" in table
