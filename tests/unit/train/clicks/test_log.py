"""Exported events -> arrays: what counts, what does not, and that nobody counts too much."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edge_runtime.contract.errors import ConfigError
from tests.support.feedback_logs import exported_events
from train.clicks.log import LogLimits, read_feedback_log, split_by_device
from train.errors import EmptyDatasetError


def written(tmp_path, events):
    path = tmp_path / "events.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return path


def read(tmp_path, events, **limits):
    return read_feedback_log(written(tmp_path, events), LogLimits(**{"min_devices": 1, **limits}))[0]


def test_a_click_finds_its_impression_by_list_and_product(tmp_path):
    log = read(
        tmp_path,
        [
            *exported_events(["p1", "p2"], clicked=["p2"]),
            *exported_events(["p2", "p1"], name="l2"),
            *exported_events(["p2"], device="d2", name="l1"),
        ],
    )
    rows = list(zip(log.device, log.position, [log.products[one] for one in log.product], log.wanted, strict=True))
    assert (0, 2, "p2", 1.0) in rows
    assert log.wanted.sum() == 1 and log.lists == 3


def test_events_in_any_order_and_twice_give_the_same_log(tmp_path):
    events = exported_events(["p1", "p2", "p3"], clicked=["p3", "p3"])
    first = read(tmp_path, events)
    again = read(tmp_path, [*reversed(events), *events])
    for name in ("product", "position", "wanted", "list_of"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))


def test_events_without_query_list_or_place_are_counted_as_left_out(tmp_path):
    bare = {"kind": "click", "device_id": "d", "product_id": "p", "sequence": 1}
    no_place = {**exported_events(["p9"], name="l9")[0], "propensity": None}
    log = read(tmp_path, [*exported_events(["p1"]), bare, {**bare, "query": "q"}, no_place])
    assert sorted(log.left_out.values()) == [1, 1, 1]


def test_a_query_of_too_few_devices_teaches_nothing(tmp_path):
    events = [one for device in ("d1", "d2", "d3") for one in exported_events(["p1"], device=device, query="common")]
    events += exported_events(["p1"], query="my name is Ann", name="l2")
    assert read(tmp_path, events, min_devices=3).queries == ("common",)
    with pytest.raises(EmptyDatasetError, match="fewer than 4 devices"):
        read(tmp_path, events, min_devices=4)


def test_a_device_that_floods_counts_with_a_bounded_number_of_lists(tmp_path):
    flood = [one for n in range(50) for one in exported_events(["p1"], name=f"l{n}", clicked=["p1"])]
    log = read(tmp_path, [*flood, *exported_events(["p1"], device="d2")], max_lists_per_device=4)
    assert log.lists == 5 and log.wanted.sum() == 4


def test_a_forged_list_with_two_products_in_one_place_is_left_out(tmp_path):
    forged = exported_events(["p1", "p2"], name="l2")
    forged[1]["position"] = 1
    assert read(tmp_path, [*exported_events(["p1"]), *forged]).left_out == {"two products in one place": 2}


def test_parquet_and_json_lines_say_the_same(tmp_path):
    events = exported_events(["p1", "p2"], clicked=["p1"])
    plain = read(tmp_path, events)
    for kind in ("impression", "click"):
        folder = tmp_path / "out" / "dt=2026-01-01" / f"kind={kind}"
        folder.mkdir(parents=True)
        rows = [{k: v for k, v in one.items() if k != "kind"} for one in events if one["kind"] == kind]
        texts = ("device_id", "list_id", "query", "product_id", "bundle_id")
        numbers = ("position", "rank", "propensity", "page_propensity", "sequence")
        schema = pa.schema([*((name, pa.string()) for name in texts), *((name, pa.float64()) for name in numbers)])
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / "part.parquet")
    log, _ = read_feedback_log(tmp_path / "out", LogLimits(min_devices=1))
    np.testing.assert_array_equal(log.wanted, plain.wanted)


def test_what_is_no_export_is_named(tmp_path):
    (tmp_path / "bad.jsonl").write_text("{")
    for path in (tmp_path / "none", tmp_path / "bad.jsonl"):
        with pytest.raises(ConfigError, match="feedback export"):
            read_feedback_log(path, LogLimits())
    with pytest.raises(EmptyDatasetError, match="privacy level full"):
        read(tmp_path, [])


def test_devices_that_judge_do_not_teach(tmp_path):
    events = [one for n in range(40) for one in exported_events(["p1", "p2"], device=f"d{n}", name=f"l{n}")]
    log, devices = read_feedback_log(written(tmp_path, events), LogLimits(min_devices=1))
    teaching, judging = split_by_device(log, devices, 0.5)
    assert not set(teaching.device) & set(judging.device)
    assert teaching.lists + judging.lists == 40 and min(teaching.lists, judging.lists) > 8
