"""Processes that die: while they open a bundle, which is given up; at any other time, which says nothing about it."""

import contextlib
import os
import random
import signal

import numpy as np
import pytest

from edge_runtime import node as node_module
from edge_runtime.contract.bundle import open_bundle
from edge_runtime.contract.errors import BundleError, BundleFormatError
from edge_runtime.feedback.bundle_reports import ReportLog
from edge_runtime.node import EdgeNode, enroll
from edge_runtime.recommender import Recommendations
from edge_runtime.updates.crash_guard import MAX_CRASHES, CrashGuard
from edge_runtime.updates.self_test import Proof
from tests.support.fleet_bundles import write_bundle
from tests.support.server_simulator import URL


def in_child(work):
    """Run `work` in another process; return how that ended."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            work()
            os._exit(0)
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def started(work):
    """Run `work(tell)` in another process; return its id, and the file to which each call of `tell` writes a byte."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            work(lambda: os.write(writer, b"."))
        os._exit(1)
    os.close(writer)
    return pid, os.fdopen(reader, "rb", buffering=0)


def kill(pid):
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def die_while_opening(guard, bundle_id):
    def work():
        with guard.opening(bundle_id):
            die()

    assert in_child(work) == -signal.SIGKILL


@pytest.fixture
def guard(tmp_path):
    return CrashGuard(tmp_path / "starts")


def test_processes_that_die_while_they_open_a_bundle_are_counted(guard):
    for _ in range(MAX_CRASHES):
        assert not guard.crashed("one")
        die_while_opening(guard, "one")
    assert guard.crashed("one") and not guard.crashed("two")
    with guard.opening("one"):
        assert guard.crashed("one")


def test_good_opening_begins_the_count_anew(guard):
    for _ in range(MAX_CRASHES - 1):
        die_while_opening(guard, "one")
    guard.clear("one")
    die_while_opening(guard, "one")
    assert not guard.crashed("one")


def test_error_while_opening_is_no_crash_and_leaves_nothing(guard, tmp_path):
    for _ in range(MAX_CRASHES):
        with pytest.raises(BundleFormatError), guard.opening("one"):
            raise BundleFormatError("bad")
    assert not guard.crashed("one") and list((tmp_path / "starts").iterdir()) == []


def test_processes_that_open_a_bundle_at_the_same_time_do_not_count_against_each_other(guard, tmp_path):
    def open_for_ever(tell):
        with guard.opening("one"):
            tell()
            signal.pause()

    pids = []
    for _ in range(5):
        pid, said = started(open_for_ever)
        with said:
            assert said.read(1) == b"."
        pids.append(pid)
    assert len(list((tmp_path / "starts").iterdir())) == 5 and not guard.crashed("one")
    guard.clear("one")
    for number, pid in enumerate(pids):
        kill(pid)
        assert guard.crashed("one") == (number + 1 >= MAX_CRASHES)


def test_what_was_counted_for_other_bundles_is_removed_unless_they_are_being_opened(guard, tmp_path):
    for digit in "123":
        die_while_opening(guard, digit * 64)
    with guard.opening("4" * 64):
        guard.keep_only(["2" * 64])
        assert sorted(mark.name[0] for mark in (tmp_path / "starts").iterdir()) == ["2", "4"]


def test_bundle_is_opened_where_no_mark_can_be_written(tmp_path, caplog):
    guard = CrashGuard(tmp_path / "no folder" / "starts")
    with guard.opening("one"):
        assert "without its crash guard" in caplog.text
    assert not guard.crashed("one")


class DeadlyRecommender:
    """Kills its process while it opens a bundle whose catalogue says so."""

    def __init__(self, folder):
        self.folder = folder.resolve()
        self.bundle = open_bundle(self.folder)

    @classmethod
    def open(cls, folder):
        if b"deadly" in (folder / "catalogue.tflite").read_bytes():
            die()
        if (folder / "bad").exists():
            raise BundleFormatError("bad")
        return cls(folder)

    def prove(self):
        return Proof(answers=1, worst_cosine=1.0, overlap=1.0)

    def search(self, query, *, k, where=None):
        return Recommendations(("p1",), np.array([1.0], np.float32))

    def close(self):
        pass


@pytest.fixture
def join(server, tmp_path, monkeypatch):
    """Make a device of bundles with these words, installed one after another."""
    monkeypatch.setattr(node_module, "Recommender", DeadlyRecommender)

    def join(*all_words):
        folder = tmp_path / "device"
        code = server.enrollment.new_code(valid_days=7)
        enroll(folder, server_url=URL, trusted_root=server.root, code=code, transport=server.transport)
        for words in all_words:
            server.publish(write_bundle(tmp_path / words, words=words))
            with EdgeNode.open(folder, transport=server.transport, prove=lambda _: 2.5) as node:
                node.sync()
        return folder

    return join


@pytest.fixture
def home(join):
    """A device with two bundles; the second passes its self-test, but kills a process that opens it."""
    return join("good", "deadly")


def start_in_child(home, transport):
    """Open the bundle in another process; return how that ended."""

    def work():
        with EdgeNode.open(home, transport=transport) as node:
            _ = node.recommender

    return in_child(work)


def crash(home, server):
    """Start until the bundle before answers."""
    endings = [start_in_child(home, server.transport) for _ in range(MAX_CRASHES + 1)]
    assert endings == [-signal.SIGKILL] * MAX_CRASHES + [0]


def reported(home):
    return [(report.kind, report.release) for report in ReportLog(home / "reports.json").waiting()]


def test_bundle_that_kills_its_process_gives_way_after_three_starts_and_does_not_come_back(server, home):
    crash(home, server)
    with EdgeNode.open(home, transport=server.transport) as node:
        assert b"good" in (node.recommender.folder / "catalogue.tflite").read_bytes()
        assert node.status().installed.release == 1
        with pytest.raises(BundleError, match="ended while they did"):
            node.sync()
        assert node.status().installed.release == 1


def test_crash_waits_to_be_reported(server, home):
    crash(home, server)
    waiting = ReportLog(home / "reports.json").waiting()
    assert reported(home)[-1] == ("crashed", 2)
    installed = [report for report in waiting if report.kind == "installed"]
    assert [report.latency_ms for report in installed] in ([2.5, 2.5], []), (
        "sent already where the server takes reports"
    )


def test_app_that_is_killed_at_any_time_after_its_first_answer_keeps_its_bundle(server, join):
    home, chance = join("one", "two"), random.Random(1)

    def use(tell):
        node = EdgeNode.open(home, transport=server.transport)
        while node.search("lamp").products:
            tell()

    for _ in range(200):
        pid, said = started(use)
        with said:
            for _ in range(chance.choice([1, 1, 2, 3])):
                assert said.read(1) == b"."
            kill(pid)
    with EdgeNode.open(home, transport=server.transport) as node:
        assert b"two" in (node.recommender.folder / "catalogue.tflite").read_bytes()
        assert node.status().installed.release == 2
    assert not (home / "refused.json").exists() and list((home / "starts").iterdir()) == []
    assert "crashed" not in dict(reported(home))


def test_bundle_whose_proof_kills_the_process_is_refused_after_three_syncs(server, join, tmp_path):
    home = join("good")
    server.publish(write_bundle(tmp_path / "deadly", words="deadly"))

    def work():
        with EdgeNode.open(home, transport=server.transport, prove=lambda _: die()) as node:
            node.sync()

    assert [in_child(work) for _ in range(MAX_CRASHES)] == [-signal.SIGKILL] * MAX_CRASHES
    with EdgeNode.open(home, transport=server.transport, prove=lambda _: die()) as node:
        for _ in range(2):
            with pytest.raises(BundleError, match="is not tried again"):
                node.sync()
        assert node.status().installed.release == 1


def test_bundle_that_crashed_is_tried_again_as_a_newer_release(server, home, tmp_path):
    crash(home, server)
    server.publish(open_bundle(tmp_path / "deadly"))
    with EdgeNode.open(home, transport=server.transport, prove=lambda _: None) as node:
        assert node.sync().update.release == 3
    crash(home, server)
    with EdgeNode.open(home, transport=server.transport) as node:
        assert node.status().installed.release == 1
        with pytest.raises(BundleError, match="not tried again"):
            node.sync()


def test_bundle_that_crashed_is_tried_again_when_the_app_asks_for_it(server, home):
    crash(home, server)
    with EdgeNode.open(home, transport=server.transport, prove=lambda _: None) as node:
        assert node.sync(retry_refused=True).update.release == 2


def test_refusal_that_names_no_release_holds_for_all(server, join, tmp_path):
    home, bundle = join("good"), write_bundle(tmp_path / "two", words="two")
    (home / "refused.json").write_text(f'{{"{bundle.bundle_id}": "other answers here"}}')
    server.publish(bundle)
    with (
        EdgeNode.open(home, transport=server.transport) as node,
        pytest.raises(BundleError, match="other answers here"),
    ):
        node.sync()


def test_damaged_bundle_does_not_give_way_to_one_that_crashed(server, home):
    crash(home, server)
    (home / "current" / "bad").touch()
    with EdgeNode.open(home, transport=server.transport) as node, pytest.raises(BundleFormatError, match="bad"):
        _ = node.recommender


def test_bundle_before_answers_though_another_process_holds_the_slots(server, home):
    for _ in range(MAX_CRASHES):
        start_in_child(home, server.transport)
    with EdgeNode.open(home, transport=server.transport) as node:
        with node._bundles.slots.locked():
            assert b"good" in (node.recommender.folder / "catalogue.tflite").read_bytes()
        assert node.status().installed.release == 2
    assert start_in_child(home, server.transport) == 0
    with EdgeNode.open(home, transport=server.transport) as node:
        assert node.status().installed.release == 1


def test_only_bundle_that_kills_its_process_is_opened_all_the_same(server, join):
    home = join("deadly")
    endings = [start_in_child(home, server.transport) for _ in range(2 * MAX_CRASHES)]
    assert endings == [-signal.SIGKILL] * (2 * MAX_CRASHES)
    assert len(list((home / "starts").iterdir())) == MAX_CRASHES
