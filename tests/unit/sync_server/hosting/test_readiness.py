"""/readyz says when the server cannot do its work, and nothing is acknowledged into a database that was removed."""

import shutil
from collections import namedtuple

import pytest

from edge_runtime.contract.errors import StorageError
from sync_server.hosting import readiness
from tests.support.fleet_bundles import write_bundle
from tests.support.server_simulator import ServerSimulator


def status(server):
    return server.client.get("/readyz").status_code


@pytest.fixture
def server(server, tmp_path):
    server.publish(write_bundle(tmp_path / "bundle"))
    assert status(server) == 200
    return server


@pytest.mark.parametrize("role", ["snapshot", "timestamp"])
@pytest.mark.parametrize("is_lost", [True, False])
def test_lost_or_damaged_online_key_is_seen(server, role, is_lost):
    (path,) = (server.config.home / "keys").glob(f"{role}*.pem")
    data = path.read_bytes()
    if is_lost:
        path.unlink()
    else:
        path.write_bytes(data[:40])
    assert status(server) == 503
    path.write_bytes(data)
    assert status(server) == 200


def test_missing_timestamp_is_seen(server):
    (server.config.home / "repository" / "metadata" / "timestamp.json").unlink()
    assert status(server) == 503


def test_server_before_its_first_publication_is_ready(tmp_path):
    new = ServerSimulator(tmp_path / "new")
    assert new.client.get("/readyz").json == {"status": "ready", "targets_version": None}
    new.close()


def test_full_disk_is_seen(server, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(readiness.shutil, "disk_usage", lambda _: usage(1_000_000))
    assert status(server) == 503


def test_disk_that_takes_no_file_is_seen(server, monkeypatch):
    def refuse(*_, **__):
        raise StorageError("read-only")

    monkeypatch.setattr(readiness, "write_bytes_atomically", refuse)
    assert status(server) == 503


@pytest.mark.parametrize("is_replaced", [False, True])
def test_removed_database_takes_nothing_more(server, tmp_path, is_replaced):
    path = server.config.home / "server.sqlite"
    assert server.enrollment.new_code(valid_days=1)
    saved = tmp_path / "saved.sqlite"
    with server.engine.begin() as connection:
        connection.exec_driver_sql("SELECT 1")
    shutil.copyfile(path, saved)
    path.unlink()
    if is_replaced:
        path.write_bytes(b"")
    with pytest.raises(StorageError):
        server.enrollment.new_code(valid_days=1)
    assert status(server) == 503
