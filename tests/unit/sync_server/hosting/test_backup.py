"""A backup that is restored serves the same releases and knows the same devices and events, on both databases."""

import json
import shutil
import threading
from datetime import timedelta

import msgspec
import pytest

from edge_runtime.contract.errors import ConfigError, DigestMismatchError, StorageError
from pocketrec.publishing.publisher import LocalTarget, publish
from pocketrec.verbs import main
from sync_server.app import create_app
from sync_server.config import ServerConfig
from sync_server.events.data_requests import erase_device, repeat_erasures
from sync_server.hosting.backup import back_up, restore
from sync_server.hosting.home import prepare_home
from sync_server.operators.audit_log import read_export
from sync_server.services import EXTENSION
from tests.support.fleet_bundles import write_bundle
from tests.support.server_simulator import ServerSimulator

CREDENTIAL = "c" * 43


pytestmark = pytest.mark.usefixtures("database_url")


@pytest.fixture
def server(server, tmp_path):
    server.publish(write_bundle(tmp_path / "bundle"))
    code = server.enrollment.new_code(valid_days=7)
    answer = server.client.post("/v1/devices/enroll", json={"code": code, "credential": CREDENTIAL})
    send(server.client, answer.json["device_id"], 1, 2)
    return server


def send(client, device_id, *numbers):
    events = [
        {"sequence": n, "event": {"kind": "click", "product_id": "p", "timestamp_s": 1.0, "bundle_id": "b"}}
        for n in numbers
    ]
    body = {"version": 1, "device_id": device_id, "events": events}
    return client.post("/v1/feedback", json=body, headers={"Authorization": f"Bearer {CREDENTIAL}"}).json


def empty_database(request, database_url):
    return request.getfixturevalue("postgres_databases").fresh() if database_url else ""


def test_restored_server_serves_and_counts_as_before(server, tmp_path, request, database_url):
    targets = server.client.get("/v1/tuf/1.targets.json", buffered=True).data
    back_up(server.config, tmp_path / "backup")
    config = ServerConfig(home=tmp_path / "new", database_url=empty_database(request, database_url))
    restore(config, tmp_path / "backup")
    prepare_home(config, keys=server.keys)
    app = create_app(config)
    client = app.test_client()
    assert client.get("/v1/tuf/1.targets.json", buffered=True).data == targets
    device_id = app.extensions[EXTENSION].enrollment.device_of(CREDENTIAL)
    assert send(client, device_id, 1, 2, 3) == {"acknowledged": 3, "stored": 1, "duplicates": 2, "refused": []}
    app.extensions[EXTENSION].close()


def test_backup_holds_no_key_and_no_secret(server, tmp_path):
    back_up(server.config, tmp_path / "backup")
    names = [path.name for path in (tmp_path / "backup").rglob("*")]
    content = b"".join(path.read_bytes() for path in (tmp_path / "backup").rglob("*") if path.is_file())
    assert not [name for name in names if name.endswith((".pem", ".token", ".key"))]
    assert CREDENTIAL.encode() not in content and b"PRIVATE KEY" not in content and server.token.encode() not in content


def test_restored_backup_has_nothing_that_was_erased_since_it_was_made(server, tmp_path, request, database_url):
    device_id = server.enrollment.device_of(CREDENTIAL)
    back_up(server.config, tmp_path / "backup", clock=lambda: server.now)
    server.pass_time(minutes=1)
    headers = {"Authorization": f"Bearer {CREDENTIAL}"}
    assert server.client.delete("/v1/feedback?through=2", headers=headers).json["events"] == 2
    server.services.audit.export(tmp_path / "audit.jsonl")
    config = ServerConfig(home=tmp_path / "new", database_url=empty_database(request, database_url))
    restore(config, tmp_path / "backup", erasures=read_export(tmp_path / "audit.jsonl"))
    prepare_home(config, keys=server.keys)
    app = create_app(config)
    assert app.extensions[EXTENSION].ingest.count_events() == 0
    # What the device still has of the erased events does not come back either.
    assert send(app.test_client(), device_id, 1, 2, 3)["stored"] == 1
    app.extensions[EXTENSION].close()


def test_erasure_before_the_backup_is_not_repeated(server, tmp_path):
    device_id = server.enrollment.device_of(CREDENTIAL)
    erase_device(server.engine, device_id, actor="ann", now_s=server.services.clock_s())
    send(server.client, device_id, 3)
    server.services.audit.export(tmp_path / "audit.jsonl")
    since = server.now + timedelta(seconds=1)
    entries = list(read_export(tmp_path / "audit.jsonl"))
    assert repeat_erasures(server.engine, entries, since=since, now_s=since.timestamp()) == 0
    assert server.ingest.count_events() == 1
    unknown = [msgspec.structs.replace(entry, subject="device-of-later") for entry in entries]
    assert repeat_erasures(server.engine, unknown, since=server.now - timedelta(days=1), now_s=0.0) == 0


@pytest.fixture
def backup(tmp_path):
    simulator = ServerSimulator(tmp_path / "sim")
    simulator.publish(write_bundle(tmp_path / "bundle"))
    back_up(simulator.config, tmp_path / "backup")
    simulator.close()
    return tmp_path / "backup"


@pytest.mark.parametrize("damage", ["changed", "missing", "added"])
def test_damaged_backup_is_refused_before_anything_is_restored(backup, tmp_path, damage):
    victim = next(path for path in backup.rglob("*.targets.json"))
    match damage:
        case "changed":
            victim.write_bytes(victim.read_bytes() + b" ")
        case "missing":
            victim.unlink()
        case "added":
            (backup / "repository" / "extra").write_text("x")
    with pytest.raises(DigestMismatchError, match="nothing was restored"):
        restore(ServerConfig(home=tmp_path / "new"), backup)
    assert not (tmp_path / "new").exists()


def test_nothing_is_overwritten(backup, tmp_path):
    with pytest.raises(ConfigError, match="exists"):
        back_up(ServerConfig(home=tmp_path / "sim" / "server"), backup)
    with pytest.raises(ConfigError, match="not empty"):
        restore(ServerConfig(home=tmp_path / "sim" / "server"), backup)
    with pytest.raises(ConfigError, match="not a server"):
        back_up(ServerConfig(home=tmp_path / "none"), tmp_path / "other")
    with pytest.raises(ConfigError, match="not a backup"):
        restore(ServerConfig(home=tmp_path / "new"), tmp_path)


def test_backup_of_another_database_is_refused(backup, tmp_path):
    with pytest.raises(ConfigError, match="holds a sqlite database"):
        restore(ServerConfig(home=tmp_path / "new", database_url="postgresql://h/d"), backup)


def test_database_that_is_away_is_named_without_its_password(tmp_path, backup):
    home = tmp_path / "sim" / "server"
    config = ServerConfig(home=home, database_url=f"postgresql://me:hidden-word@/shop?host={tmp_path}")
    with pytest.raises(StorageError, match="pg_dump failed") as caught:
        back_up(config, tmp_path / "other")
    assert "hidden-word" not in str(caught.value) and not (tmp_path / "other").exists()


def test_commands_back_up_and_restore(backup, tmp_path, capsys):
    home = tmp_path / "sim" / "server"
    assert main(["backup", str(tmp_path / "again"), "--home", str(home), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] > 5
    assert main(["restore", str(tmp_path / "again"), "--home", str(tmp_path / "new")]) == 0
    assert "start the server there with --keys" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "again")
    assert main(["restore", str(tmp_path / "again"), "--home", str(tmp_path / "newer")]) == 1


def test_publication_during_the_backup_leaves_a_backup_that_serves(
    server, tmp_path, request, database_url, monkeypatch
):
    other = write_bundle(tmp_path / "other", words="other")
    publishing = threading.Thread(target=lambda: server.publish(other, make=None))
    patterns = shutil.ignore_patterns

    def ignore(*names):
        ignored = patterns(*names)

        def listed(folder, found):
            # The folder's list is made by now, its files are not copied yet. Without the lock the publication ends here.
            if str(folder).endswith("metadata"):
                publishing.start()
                publishing.join(timeout=1.0)
            return ignored(folder, found)

        return listed

    monkeypatch.setattr(shutil, "ignore_patterns", ignore)
    back_up(server.config, tmp_path / "backup")
    publishing.join()
    config = ServerConfig(home=tmp_path / "new", database_url=empty_database(request, database_url))
    restore(config, tmp_path / "backup")
    prepare_home(config, keys=server.keys)
    app = create_app(config)
    assert app.test_client().get("/readyz").status_code == 200
    app.extensions[EXTENSION].close()


@pytest.mark.parametrize("is_published_since", [False, True])
def test_device_that_saw_a_newer_timestamp_follows_the_restored_server(
    server, tmp_path, request, database_url, is_published_since
):
    server.now = server.now.replace(microsecond=0)
    back_up(server.config, tmp_path / "backup", clock=lambda: server.now)
    bundle = write_bundle(tmp_path / "bundle2", words="second")
    if is_published_since:
        server.publish(bundle)
    for _ in range(3):
        server.pass_time(hours=30)
        assert server.repository.renew()
    updater = server.updater(tmp_path / "device")
    updater.update()
    config = ServerConfig(home=tmp_path / "new", database_url=empty_database(request, database_url))
    restored = restore(config, tmp_path / "backup", clock_s=lambda: server.now.timestamp())
    assert restored.timestamp_version == 1 + 90 * 3_600
    prepare_home(config, keys=server.keys)
    app = create_app(config, clock=lambda: server.now)
    server.transport._client = app.test_client()
    if is_published_since:
        target = LocalTarget(app.extensions[EXTENSION].repository, max_file_bytes=10_000_000)
        publish(bundle.folder, channel="stable", keys=server.keys, target=target, clock=lambda: server.now)
    assert updater.update() is not None
    # Once only: another start leaves the version as it is.
    timestamp = server.transport._client.get("/v1/tuf/timestamp.json").data
    prepare_home(config, keys=server.keys)
    assert server.transport._client.get("/v1/tuf/timestamp.json").data == timestamp
    app.extensions[EXTENSION].close()


def test_version_of_the_timestamp_can_be_named(backup, tmp_path, capsys):
    home = str(tmp_path / "new")
    assert main(["restore", str(backup), "--home", home, "--timestamp-version", "70"]) == 0
    assert "to 70, so that devices follow" in capsys.readouterr().out
    keys = tmp_path / "sim" / "keys"
    prepare_home(ServerConfig(home=tmp_path / "new"), keys=keys)
    timestamp = tmp_path / "new" / "repository" / "metadata" / "timestamp.json"
    assert json.loads(timestamp.read_bytes())["signed"]["version"] == 70
    assert main(["keys", "raise", "90", "--home", home]) == 0
    assert json.loads(timestamp.read_bytes())["signed"]["version"] == 90
    assert main(["keys", "raise", "90", "--home", home]) == 0
    assert "as high already" in capsys.readouterr().out
    (tmp_path / "new" / "least_version").write_text("x")
    with pytest.raises(ConfigError, match="is damaged"):
        prepare_home(ServerConfig(home=tmp_path / "new"), keys=keys)
