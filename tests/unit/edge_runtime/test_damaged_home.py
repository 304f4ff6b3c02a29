"""A home on a full or read-only disk, or with lost or damaged files: searches are answered as long as the bundle is whole."""

import contextlib
import errno
import os
import resource
import sqlite3

import pytest

from edge_runtime import node as node_module
from edge_runtime.contract.errors import QueueDamagedError, StorageError
from edge_runtime.contract.events import FeedbackEvent
from edge_runtime.feedback.bundle_reports import ReportLog
from edge_runtime.feedback.event_queue import FeedbackQueue
from edge_runtime.feedback.lasting_queue import LastingQueue
from edge_runtime.node import EdgeNode, enroll
from pocketrec.verbs import main
from tests.support.fake_recommender import FakeRecommender
from tests.support.file_operations import failing
from tests.support.fleet_bundles import write_bundle
from tests.support.server_simulator import URL

CLICK = FeedbackEvent(kind="click", product_id="p1", timestamp_s=1.0, bundle_id="b")


@pytest.fixture
def home(server, home, tmp_path, monkeypatch):
    """An enrolled device that has synced: one bundle, one event sent."""
    monkeypatch.setattr(node_module, "Recommender", FakeRecommender)
    monkeypatch.setattr(node_module, "HttpTransport", lambda: server.transport)
    code = server.enrollment.new_code(valid_days=7)
    enroll(home, server_url=URL, trusted_root=server.root, code=code, transport=server.transport)
    server.publish(write_bundle(tmp_path / "one", words="one"))
    with EdgeNode.open(home) as node:
        node.record(CLICK)
        node.sync()
    return home


@contextlib.contextmanager
def full_disk():
    """No file can grow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def warnings(caplog, text):
    return [record for record in caplog.records if text in record.getMessage()]


def test_disk_that_fills_while_an_app_runs_costs_impressions_and_one_line_of_the_log(home, caplog):
    with EdgeNode.open(home) as node:
        node.search("lamp")
        with full_disk():
            assert [node.search("lamp").products[0].product_id for _ in range(3)] == ["about lamp"] * 3
            with pytest.raises(StorageError):
                node.record(CLICK)
        node.search("lamp")
        assert len(warnings(caplog, "impressions are not kept")) == 1
        assert node.status().queue.waiting == 2


def test_app_that_starts_on_a_full_disk_answers_and_keeps_feedback_once_there_is_room(home, caplog):
    with full_disk() as make_room, EdgeNode.open(home) as node:
        assert node.search("lamp").products and node.search("lamp").products
        assert node.status().installed.release == 1
        assert len(warnings(caplog, "impressions are not kept")) == 1
        make_room()
        assert node.record(CLICK) is not None and node.status().queue.waiting == 1


def test_read_only_home_answers(home, capsys, caplog, monkeypatch):
    def no_database(*_args, **_options):
        raise sqlite3.OperationalError("unable to open database file")

    read_only = failing(errno.EROFS)
    monkeypatch.setattr("edge_runtime.contract.atomic_files.tempfile.mkstemp", read_only)
    monkeypatch.setattr("edge_runtime.feedback.queue_file.sqlite3.connect", no_database)
    monkeypatch.setattr("edge_runtime.updates.crash_guard.Path.rename", read_only)
    with EdgeNode.open(home) as node:
        assert node.search("lamp").products and node.search("lamp").products
        assert len(warnings(caplog, "impressions are not kept")) == 1
    assert main(["node", "search", "lamp", "--home", str(home)]) == 0
    assert main(["node", "status", "--home", str(home)]) == 0
    assert "release 1" in (said := capsys.readouterr().out) and "queue cannot be opened" in said


@pytest.mark.parametrize("harm", ["lost", "damaged"])
@pytest.mark.parametrize("name", ["starts", "reports.json", "refused.json", "feedback.sqlite", "current", "record"])
def test_lost_or_damaged_file_costs_neither_the_answer_nor_the_next_sync(server, home, tmp_path, name, harm):
    path = next((home / "slots").glob("*.json")) if name == "record" else home / name
    if name == "starts":
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
    if harm == "damaged" and name == "current":
        path.symlink_to("slots/nowhere")
    elif harm == "damaged":
        path.write_bytes(b"\0 garbage" * 1_000)
    with EdgeNode.open(home) as node:
        assert node.search("lamp").products
    for command in (["search", "lamp"], ["status"]):
        assert main(["node", *command, "--home", str(home)]) == 0
    two = write_bundle(tmp_path / "two", words="two")
    server.publish(two)
    with EdgeNode.open(home) as node:
        assert node.sync().update.to_bundle_id == two.bundle_id
        assert node.search("lamp").bundle_id == two.bundle_id
        assert node.status().installed.release == 2
    assert (home / "current").resolve().name == two.bundle_id[:24]


def test_lost_link_is_made_again_by_the_next_sync(home):
    before = (home / "current").readlink()
    (home / "current").unlink()
    with EdgeNode.open(home) as node:
        assert node.status().installed.release == 1
        assert not node.sync().update.switched
    assert (home / "current").readlink() == before


def test_lost_link_stands_for_the_bundle_that_is_not_the_previous_one(server, home, tmp_path):
    server.publish(write_bundle(tmp_path / "two", words="two"))
    with EdgeNode.open(home) as node:
        node.sync()
        node._bundles.slots.roll_back()
        (home / "current").unlink()
        assert node.status().installed.release == 1


def test_damaged_queue_is_set_aside_and_what_follows_reaches_the_server(server, home, caplog):
    (home / "feedback.sqlite").write_bytes(b"garbage" * 1_000)
    with EdgeNode.open(home) as node:
        node.search("lamp")
        node.record(CLICK)
        assert node.sync().feedback.sent == 2
    with EdgeNode.open(home) as node:
        node.search("lamp")
        assert len(list(home.glob("feedback.sqlite.damaged-*"))) == 1
        assert len(warnings(caplog, "set aside")) == 1
        assert server.ingest.count_events() == 3
        node.forget()
    assert not list(home.glob("*.damaged-*"))


def test_device_that_lost_its_files_is_not_taken_for_one_that_sends_again(server, home, tmp_path):
    """Numbers that the server has seen would count as duplicates: neither event nor report would ever be stored."""
    (home / "reports.json").unlink()
    for path in home.glob("feedback.sqlite*"):
        path.unlink()
    server.publish(write_bundle(tmp_path / "two", words="two"))
    with EdgeNode.open(home) as node:
        node.record(CLICK)
        node.sync()
    assert server.ingest.count_events() == 2
    assert [(one.release, one.devices) for one in server.services.reports.releases()] == [(2, 1)]


def test_queue_that_is_here_goes_on_with_its_numbers(tmp_path):
    now = [100.0]
    with FeedbackQueue(tmp_path / "q") as older:
        assert older.record(CLICK) == 1
    for expected in (2, 3):
        now[0] += 1
        queue = LastingQueue(tmp_path / "q", privacy="events", max_events=10, clock_s=lambda: now[0])
        assert queue.use(lambda one: one.record(CLICK)) == expected
        queue.use(lambda one: one.acknowledge(one.status().last_sequence))
        queue.close()


def test_only_the_last_damaged_queue_is_kept(tmp_path):
    now = [100.0]
    for _ in range(2):
        now[0] += 1
        (tmp_path / "q").write_bytes(b"garbage" * 1_000)
        queue = LastingQueue(tmp_path / "q", privacy="events", max_events=10, clock_s=lambda: now[0])
        assert queue.use(lambda one: one.record(CLICK)) == 1_000 * now[0] + 1
        queue.close()
    assert [path.name for path in tmp_path.glob("*.damaged-*")] == ["q.damaged-102"]


def test_queue_that_another_process_has_begun_anew_is_not_set_aside(tmp_path):
    queue = LastingQueue(tmp_path / "q", privacy="events", max_events=10)
    used = []

    def damaged_once(one):
        used.append(one)
        if len(used) == 1:
            raise QueueDamagedError("this process still has the damaged file open")
        return one.status().waiting

    queue.use(lambda one: one.record(CLICK))
    assert queue.use(damaged_once) == 1 and used[0] is not used[1]
    queue.close()
    assert not list(tmp_path.glob("*.damaged-*"))


def test_damage_that_is_met_while_the_queue_is_used_is_set_aside(tmp_path):
    with FeedbackQueue(tmp_path / "q") as filled:
        filled.record_all([CLICK] * 500)
    data = bytearray((tmp_path / "q").read_bytes())
    data[8_192:-4_096] = bytes(len(data) - 12_288)
    (tmp_path / "q").write_bytes(data)
    queue = LastingQueue(tmp_path / "q", privacy="events", max_events=1_000)
    assert len(queue.use(lambda one: one.record_all([CLICK] * 3))) == 3
    assert queue.use(lambda one: len(one.batch())) == 3
    queue.close()
    assert len(list(tmp_path.glob("*.damaged-*"))) == 1


def test_full_disk_is_not_reported_as_a_failure_of_the_bundle(server, home, tmp_path, monkeypatch):
    server.publish(write_bundle(tmp_path / "two", words="two"))
    with EdgeNode.open(home) as node, monkeypatch.context() as patched:
        patched.setattr("edge_runtime.updates.downloads.os.fsync", failing(errno.ENOSPC))
        with pytest.raises(StorageError):
            node.sync()
    assert {report.kind for report in ReportLog(home / "reports.json").waiting()} <= {"installed"}


def test_half_written_files_of_killed_processes_are_removed_after_a_day(server, home):
    old, new = home / ".tmp-old", home / "slots" / ".tmp-new"
    for path, age_s in ((old, 90_000), (new, 80_000)):
        path.write_bytes(b"half")
        os.utime(path, (server.now.timestamp() - age_s,) * 2)
    with EdgeNode.open(home) as node:
        node.sync()
    assert not old.exists() and new.exists()


@pytest.mark.parametrize("damage", [b"secret\nword\xff", b"secret\nword-of-this-device", b""])
def test_damaged_credential_is_a_sentence_that_does_not_show_it(home, capsys, damage):
    (home / "credential").write_bytes(damage)
    assert main(["node", "sync", "--home", str(home)]) == 1
    said = capsys.readouterr().err
    assert "credential is damaged" in said and "secret" not in said and "word" not in said


def test_folder_in_the_place_of_the_credential_is_a_sentence(server, tmp_path):
    (tmp_path / "new" / "credential").mkdir(parents=True)
    with pytest.raises(StorageError, match="Is a directory"):
        enroll(tmp_path / "new", server_url=URL, trusted_root=server.root, code="x", transport=server.transport)


def test_product_that_is_no_text_is_refused_with_a_sentence(home, capsys):
    assert main(["node", "record", "--home", str(home), "--kind", "click", "--product", "\udcff"]) == 1
    assert "product_id: expected text" in capsys.readouterr().err
