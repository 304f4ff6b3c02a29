"""Erasing, handing out and giving up what is kept of a device; Parquet; the commands for it."""

import json

import pyarrow.dataset as ds
import pytest

from edge_runtime.contract.errors import ConfigError
from pocketrec.verbs import main
from sync_server.errors import RequestError
from sync_server.events.data_requests import device_data, erase_device
from sync_server.events.export import export_parquet
from sync_server.events.retention import sweep
from tests.support.server_simulator import ServerSimulator
from tests.unit.sync_server.api.test_feedback_endpoint import CREDENTIAL, enroll, item, post

DAY_S = 86_400.0


pytestmark = pytest.mark.usefixtures("database_url")


@pytest.fixture
def device_id(server):
    return enroll(server).json["device_id"]


def ask(server, method, credential=CREDENTIAL):
    headers = {"Authorization": f"Bearer {credential}"}
    return server.client.open("/v1/feedback", method=method, headers=headers)


def test_erased_events_stay_away_though_they_are_sent_again(server, device_id):
    post(server, device_id, [item(1), item(2)])
    assert ask(server, "DELETE").json == {"events": 2, "count_reports": 0}
    again = post(server, device_id, [item(1), item(2), item(3)]).json
    assert (again["stored"], again["duplicates"]) == (1, 2)
    assert server.ingest.count_events() == 1


def test_batch_under_way_during_the_erasure_is_not_stored_after_it(server, device_id):
    post(server, device_id, [item(1), item(2)])
    headers = {"Authorization": f"Bearer {CREDENTIAL}"}
    assert server.client.delete("/v1/feedback?through=5", headers=headers).json["events"] == 2
    under_way = post(server, device_id, [item(3, query="words"), item(5), item(6)]).json
    assert (under_way["stored"], under_way["duplicates"], under_way["acknowledged"]) == (1, 2, 6)
    assert server.client.delete("/v1/feedback?through=-1", headers=headers).status_code == 400


def test_erased_texts_are_in_no_file_of_the_database(tmp_path):
    server = ServerSimulator(tmp_path / "sqlite")
    device_id = enroll(server).json["device_id"]
    other = enroll(server, credential="d" * 43).json["device_id"]
    post(server, other, [item(1, query="kept words")], credential="d" * 43)
    for first in range(1, 300, 100):
        post(server, device_id, [item(number, query="vanishing words " * 20) for number in range(first, first + 100)])

    def content():
        return b"".join(path.read_bytes() for path in server.config.home.glob("server.sqlite*"))

    assert b"vanishing words" in content()
    assert ask(server, "DELETE").json["events"] == 300
    assert b"vanishing words" not in content() and b"kept words" in content()
    server.close()


def test_erasing_one_device_leaves_the_others(server, device_id):
    other = enroll(server, credential="d" * 43).json["device_id"]
    post(server, device_id, [item(1)])
    post(server, other, [item(1)], credential="d" * 43)
    assert ask(server, "DELETE").json["events"] == 1
    assert server.ingest.count_events() == 1
    assert ask(server, "DELETE", credential="x" * 43).status_code == 401


def test_device_gets_all_that_is_kept_of_it_and_no_more(server, device_id):
    other = enroll(server, credential="d" * 43).json["device_id"]
    post(server, device_id, [item(1, query="red lamp")], consent={"level": "full", "given_at_s": 5.0})
    post(server, other, [item(1)], credential="d" * 43)
    lines = [json.loads(line) for line in ask(server, "GET").data.splitlines()]
    assert [line["what"] for line in lines] == ["device", "event"]
    assert lines[0]["privacy_level"] == "full" and lines[0]["consented_at_s"] == 5.0
    assert lines[1]["query"] == "red lamp" and other not in json.dumps(lines)
    assert "credential_sha256" not in lines[0]


def test_old_events_are_swept_while_new_ones_come_in_and_do_not_return(server, device_id):
    post(server, device_id, [item(1), item(2)])
    server.pass_time(days=401)
    post(server, device_id, [item(3)])
    assert server.ingest.count_events() == 1
    assert post(server, device_id, [item(1)]).json["duplicates"] == 1
    assert sweep(server.engine, before_s=server.services.clock_s() - DAY_S) == 0


def test_parquet_is_partitioned_by_day_and_kind(server, device_id, tmp_path):
    post(server, device_id, [item(1, timestamp_s=0.0), item(2, kind="purchase", timestamp_s=DAY_S, position=2)])
    assert export_parquet(server.engine, tmp_path / "out") == 2
    assert (tmp_path / "out" / "dt=1970-01-02" / "kind=purchase").is_dir()
    table = ds.dataset(tmp_path / "out", partitioning="hive").to_table().sort_by("sequence").to_pylist()
    assert [(row["kind"], str(row["dt"]), row["position"]) for row in table] == [
        ("click", "1970-01-01", None),
        ("purchase", "1970-01-02", 2),
    ]
    with pytest.raises(ConfigError, match="exists"):
        export_parquet(server.engine, tmp_path / "out")
    with pytest.raises(ConfigError, match="not a folder"):
        export_parquet(server.engine, tmp_path / "none" / "out")


def test_time_that_no_calendar_has_is_exported_too(server, device_id, tmp_path):
    post(server, device_id, [item(1, timestamp_s=-1e18)])
    assert export_parquet(server.engine, tmp_path / "out") == 1
    assert (tmp_path / "out" / "dt=0001-01-01").is_dir()


def test_commands_of_feedback_and_devices(server, device_id, tmp_path, capsys):
    post(server, device_id, [item(1), item(2)])
    home = ["--config", str(server.settings_file()), "--json"]
    assert main(["feedback", "export", "--out", str(tmp_path / "parquet"), *home]) == 0
    assert main(["feedback", "export", "--format", "jsonl", "--out", str(tmp_path / "e.jsonl"), *home]) == 0
    assert [json.loads(line)["events"] for line in capsys.readouterr().out.splitlines()] == [2, 2]
    assert main(["feedback", "sweep", "--days", "1", *home]) == 0
    assert json.loads(capsys.readouterr().out)["removed"] == 0
    assert main(["feedback", "sweep", "--days", "0", *home]) == 1
    assert main(["feedback", "export", "--out", str(tmp_path / "x"), "--home", str(tmp_path / "none")]) == 1
    assert "not a server's home" in capsys.readouterr().err


def test_unknown_device_is_named(server):
    with pytest.raises(RequestError, match="no device 'no'"):
        device_data(server.engine, "no")
    with pytest.raises(RequestError, match="no device 'no'"):
        erase_device(server.engine, "no", actor="me", now_s=0.0)


def test_operator_exports_and_erases_one_device_and_that_is_logged(server, device_id, tmp_path, capsys):
    post(server, device_id, [item(1)])
    place = ["--config", str(server.settings_file()), "--json"]
    assert main(["devices", "export", device_id, "--out", str(tmp_path / "d.jsonl"), *place]) == 0
    assert len((tmp_path / "d.jsonl").read_text().splitlines()) == 2
    assert main(["devices", "erase", device_id, *place]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[1])["events"] == 1
    assert main(["audit", "show", *place]) == 0
    assert "device data erased" in capsys.readouterr().out
    assert main(["devices", "erase", "nobody", *place]) == 1


def test_only_an_admin_erases_for_a_device(server, device_id):
    post(server, device_id, [item(1)])
    path = f"/v1/devices/{device_id}/feedback"
    for method in ("GET", "DELETE"):
        answer = server.client.open(path, method=method, headers={"Authorization": f"Bearer {CREDENTIAL}"})
        assert answer.status_code in {401, 403}
    assert server.ingest.count_events() == 1
