"""What devices download from a server whose home was named as one types it."""

from pathlib import Path

import pytest

from edge_runtime.contract.errors import ConfigError
from sync_server.config import ServerConfig
from tests.support.fleet_bundles import write_bundle
from tests.support.server_simulator import ServerSimulator


def test_a_server_with_a_relative_home_gives_devices_its_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    server = ServerSimulator(Path("shop"))
    try:
        server.publish(write_bundle(tmp_path / "bundle"))
        files = sorted((tmp_path / "shop" / "server" / "repository" / "files").rglob("*"))
        digest = next(file.name for file in files if file.is_file())
        for path in ("timestamp.json", "1.root.json", f"targets/files/{digest}.{digest}"):
            with server.client.get(f"/v1/tuf/{path}", buffered=True) as answer:
                assert (path, answer.status_code) == (path, 200)
    finally:
        server.close()


def test_the_home_stays_the_same_folder_when_the_working_folder_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    server = ServerSimulator(Path("shop"))
    monkeypatch.chdir("/")
    try:
        assert server.config.home == tmp_path / "shop" / "server"
        assert server.token
    finally:
        server.close()


def test_files_are_left_to_the_proxy_when_it_sends_them(tmp_path):
    server = ServerSimulator(tmp_path, accel_redirect="/stored-files/")
    try:
        bundle = write_bundle(tmp_path / "bundle")
        server.publish(bundle)
        digest = bundle.manifest.artifacts[0].sha256
        for path in (f"tuf/targets/files/{digest}.x", f"channels/stable/x?sha256={digest}"):
            answer = server.client.get(f"/v1/{path}")
            assert answer.headers["X-Accel-Redirect"] == f"/stored-files/{digest[:2]}/{digest}"
            assert (answer.status_code, answer.data) == (200, b"") and "immutable" in answer.headers["Cache-Control"]
        assert server.client.get(f"/v1/tuf/targets/files/{'0' * 64}.x").status_code == 404
    finally:
        server.close()


@pytest.mark.parametrize("prefix", ["/", "stored/", "/stored", "//"])
def test_an_internal_location_has_a_name(prefix):
    with pytest.raises(ConfigError, match="accel_redirect"):
        ServerConfig(accel_redirect=prefix)
