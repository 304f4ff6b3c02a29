"""What devices download from a server whose home was named as one types it."""

from pathlib import Path

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
