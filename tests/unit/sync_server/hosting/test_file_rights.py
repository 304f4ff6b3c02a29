"""Nobody but the server's own user reads the database, its backups and exports of what devices sent."""

import os

import pytest

from edge_runtime.search.user_profile import PersonalTaste
from pocketrec.verbs import main
from sync_server.events.export import export_parquet
from sync_server.events.json_lines import export_json_lines
from sync_server.hosting.backup import back_up, restore
from sync_server.hosting.home import prepare_home
from tests.support.server_simulator import ServerSimulator
from tests.unit.sync_server.api.test_feedback_endpoint import enroll, item, post


@pytest.fixture
def server(tmp_path):
    # As loose as it gets: the rights must not depend on it.
    before = os.umask(0)
    simulator = ServerSimulator(tmp_path / "sim")
    yield simulator
    simulator.close()
    os.umask(before)


def readable_by_others(folder):
    return sorted(path.name for path in folder.iterdir() if path.stat().st_mode & 0o077 and "sqlite" in path.name)


def test_database_and_its_log_are_private_also_those_of_an_earlier_version(server):
    (server.config.home / "server.sqlite").chmod(0o644)
    prepare_home(server.config, keys=None)
    post(server, enroll(server).json["device_id"], [item(1)])
    assert readable_by_others(server.config.home) in ([], ["server.sqlite.writers"])


def test_backups_and_restored_databases_are_private(server, tmp_path):
    back_up(server.config, tmp_path / "backup")
    assert (tmp_path / "backup").stat().st_mode & 0o077 == 0
    assert readable_by_others(tmp_path / "backup") == []
    restored = type(server.config)(home=tmp_path / "new")
    restore(restored, tmp_path / "backup")
    assert readable_by_others(restored.home) == []


def test_exports_are_private(server, tmp_path):
    device_id = enroll(server).json["device_id"]
    post(server, device_id, [item(1)])
    export_parquet(server.engine, tmp_path / "parquet")
    export_json_lines(server.engine, tmp_path / "events.jsonl")
    place = ["--config", str(server.settings_file())]
    assert main(["devices", "export", device_id, "--out", str(tmp_path / "device.jsonl"), *place]) == 0
    assert main(["audit", "export", str(tmp_path / "audit.jsonl"), *place]) == 0
    made = [tmp_path / name for name in ("parquet", "events.jsonl", "device.jsonl", "audit.jsonl")]
    assert [path.name for path in made if path.stat().st_mode & 0o077] == []


def test_taste_of_a_user_is_private(tmp_path):
    taste = PersonalTaste(tmp_path / "taste.json")
    taste.add(["p1"], "click")
    assert (tmp_path / "taste.json").stat().st_mode & 0o077 == 0
