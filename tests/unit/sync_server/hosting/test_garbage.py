"""What nobody needs any longer is removed, and nothing else: devices and publishers go on meanwhile."""

import io
import os
from datetime import timedelta
from hashlib import sha256

import pytest

from edge_runtime.contract.errors import StorageError
from pocketrec.verbs import main
from sync_server.database.engine import write_session
from sync_server.database.tables.rollouts import GuardrailPoint, RolloutRow
from sync_server.hosting.garbage import collect_garbage
from tests.support.fleet_bundles import write_bundle


def collect(server, **options):
    return collect_garbage(server.config, now_s=server.now.timestamp(), **options)


def grow_old(server, days):
    """Let all files of the repository be `days` older, and the clock with them."""
    server.pass_time(days=days)
    for path in (server.config.home / "repository").rglob("*"):
        past = path.stat().st_mtime - days * 86_400
        os.utime(path, (past, past))
    server.now -= timedelta(days=days)


def upload(server, content):
    name = sha256(content).hexdigest()
    server.repository.files.put(name, io.BytesIO(content), max_bytes=1_000)
    return name


def published(server, tmp_path, releases=6):
    for number in range(releases):
        server.publish(write_bundle(tmp_path / str(number), words=f"words {number}"))
        grow_old(server, 40)


def test_unsigned_uploads_and_files_of_old_releases_go(server, tmp_path):
    published(server, tmp_path)
    unsigned = upload(server, b"never signed")
    grow_old(server, 40)
    fresh = upload(server, b"a publication under way")
    (server.config.home / "repository" / "files" / unsigned[:2] / ".tmp-left").write_bytes(b"half")
    os.utime(server.config.home / "repository" / "files" / unsigned[:2] / ".tmp-left", (0, 0))
    would = collect(server, is_dry_run=True)
    assert server.repository.files.path(unsigned) is not None
    done = collect(server)
    assert done == would and done.files > 2 and done.file_bytes > 12 and done.metadata > 2
    assert server.repository.files.path(unsigned) is None and server.repository.files.path(fresh) is not None
    assert not list((server.config.home / "repository").rglob(".tmp-*"))
    again = collect(server)
    assert (again.files, again.metadata) == (0, 0)


def test_devices_and_publishers_go_on_after_a_collection(server, tmp_path):
    published(server, tmp_path)
    updater = server.updater(tmp_path / "device")
    roots = sorted((server.config.home / "repository" / "metadata").glob("*.root.json"))
    collect(server)
    assert updater.update().release == 6
    server.publish(write_bundle(tmp_path / "next", words="next"))
    assert updater.update().release == 7
    assert sorted((server.config.home / "repository" / "metadata").glob("*.root.json")) == roots
    assert server.client.get("/readyz").status_code == 200


@pytest.mark.parametrize(("days", "is_removed"), [(0, False), (29, False), (31, True)])
def test_what_was_replaced_or_uploaded_within_thirty_days_stays(server, tmp_path, days, is_removed):
    for number in range(6):
        server.publish(write_bundle(tmp_path / str(number), words=f"words {number}"))
    unsigned = upload(server, b"never signed")
    # A device or a backup may be on its way with any of the six, a publication with the upload.
    past = server.now.timestamp() - days * 86_400
    for path in (server.config.home / "repository").rglob("*"):
        os.utime(path, (past, past))
    done = collect(server)
    assert (done.files > 0, done.metadata > 0) == (is_removed, is_removed)
    assert (server.repository.files.path(unsigned) is None) == is_removed


def test_damaged_metadata_stops_the_collection(server, tmp_path):
    published(server, tmp_path, releases=2)
    before = sorted((server.config.home / "repository").rglob("*"))
    (server.config.home / "repository" / "metadata" / "timestamp.json").write_bytes(b"{}")
    with pytest.raises(StorageError, match="damaged"):
        collect(server)
    assert sorted((server.config.home / "repository").rglob("*")) == before


def rollout(rollout_id, ended_at_s):
    row = RolloutRow(rollout_id=rollout_id, channel="stable", ended_at_s=ended_at_s)
    for column in RolloutRow.__table__.columns:
        if getattr(row, column.key) is None and not column.nullable:
            setattr(row, column.key, 0 if column.type.python_type in (int, float) else "x")
    return row


@pytest.mark.usefixtures("database_url")
def test_codes_keys_and_points_of_the_past_go(server):
    server.enrollment.new_code(valid_days=1)
    device_id = server.enrollment.enroll(server.enrollment.new_code(valid_days=1), "c" * 43)
    server.services.enrollment_keys.create("old", devices=1, per_minute=1, valid_days=1, actor="ann")
    now = server.now.timestamp()
    with write_session(server.engine) as session:
        session.add_all([rollout("over", now - 500 * 86_400), rollout("lately", now)])
        for name in ("over", "lately"):
            session.add(GuardrailPoint(rollout_id=name, name="g", at_s=1.0, estimate=0.0))
    server.pass_time(days=40)
    valid = server.enrollment.new_code(valid_days=1)
    live = server.services.enrollment_keys.create("live", devices=1, per_minute=1, valid_days=1, actor="ann")
    would = collect(server, is_dry_run=True)
    assert (would.codes, would.keys, would.guardrail_points) == (2, 1, 1)
    assert collect(server) == would
    assert [key.key_id for key in server.services.enrollment_keys.every_key()] == [live.key_id]
    assert server.services.devices.find(device_id) is not None
    assert server.enrollment.enroll(valid, "d" * 43) != device_id
    assert collect(server).codes == 0


def test_command_says_what_it_would_remove(server, tmp_path, capsys):
    published(server, tmp_path)
    arguments = ("gc", "--home", str(server.config.home))
    assert main([*arguments, "--dry-run"]) == 0
    assert "would remove" in capsys.readouterr().out
    assert main([*arguments]) == 0
    assert "removed" in capsys.readouterr().out
    assert main([*arguments, "--older-than-days", "0"]) == 1
