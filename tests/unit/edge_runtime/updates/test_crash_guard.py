"""Starts that break off: counted across processes, forgotten when one goes well, and what follows from them."""

import os
import signal

import pytest

from edge_runtime import node as node_module
from edge_runtime.contract.errors import BundleError, BundleFormatError
from edge_runtime.feedback.bundle_reports import ReportLog
from edge_runtime.node import EdgeNode, enroll
from edge_runtime.updates.crash_guard import MAX_CRASHES, SETTLED_AFTER_S, CrashGuard
from edge_runtime.updates.self_test import Proof
from tests.support.fleet_bundles import write_bundle
from tests.support.server_simulator import URL


def test_starts_that_break_off_are_counted_across_processes(tmp_path):
    path = tmp_path / "starts.json"
    assert [CrashGuard(path).begin("b") for _ in range(MAX_CRASHES + 2)] == [False] * MAX_CRASHES + [True] * 2


def test_start_that_ends_well_begins_the_count_anew(tmp_path):
    path = tmp_path / "starts.json"
    for _ in range(MAX_CRASHES - 1):
        CrashGuard(path).begin("b")
    log = CrashGuard(path)
    log.begin("b")
    log.settle()
    assert not CrashGuard(path).begin("b")


def test_start_that_lasts_has_gone_well_however_it_ends(tmp_path):
    now = [0.0]
    log = CrashGuard(tmp_path / "starts.json", clock=lambda: now[0])
    for _ in range(MAX_CRASHES):
        log.begin("b")
    log.tick()
    assert log.begin("b")
    now[0] += SETTLED_AFTER_S
    log.tick()
    assert not log.begin("b")


def test_another_bundle_begins_at_zero_and_garbage_is_no_count(tmp_path):
    path = tmp_path / "starts.json"
    for _ in range(5):
        CrashGuard(path).begin("one")
    assert not CrashGuard(path).begin("two")
    path.write_text("{")
    assert not CrashGuard(path).begin("two")


class DeadlyRecommender:
    """Kills its process while it opens a bundle whose catalogue says so."""

    def __init__(self, folder):
        self.folder = folder.resolve()

    @classmethod
    def open(cls, folder):
        if b"deadly" in (folder / "catalogue.tflite").read_bytes():
            os.kill(os.getpid(), signal.SIGKILL)
        if b"bad" in (folder / "catalogue.tflite").read_bytes():
            raise BundleFormatError("bad")
        return cls(folder)

    def prove(self):
        return Proof(answers=1, worst_cosine=1.0, overlap=1.0)

    def close(self):
        pass


@pytest.fixture
def home(server, tmp_path, monkeypatch):
    """A device with two bundles; the second passes its self-test, but kills a process that opens it."""
    monkeypatch.setattr(node_module, "Recommender", DeadlyRecommender)
    folder = tmp_path / "device"
    code = server.enrollment.new_code(valid_days=7)
    enroll(folder, server_url=URL, trusted_root=server.root, code=code, transport=server.transport)
    for words in ("good", "deadly"):
        server.publish(write_bundle(tmp_path / words, words=words))
        with EdgeNode.open(folder, transport=server.transport, prove=lambda _: 2.5) as node:
            node.sync()
    return folder


def start_in_child(home, transport):
    """Open the bundle in another process; return how that ended."""
    pid = os.fork()
    if pid == 0:
        with EdgeNode.open(home, transport=transport) as node:
            _ = node.recommender
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_bundle_that_kills_its_process_gives_way_after_three_starts_and_does_not_come_back(server, home):
    endings = [start_in_child(home, server.transport) for _ in range(MAX_CRASHES + 1)]
    assert endings == [-signal.SIGKILL] * MAX_CRASHES + [0]
    with EdgeNode.open(home, transport=server.transport) as node:
        assert b"good" in (node.recommender.folder / "catalogue.tflite").read_bytes()
        assert node.status().installed.release == 1
        with pytest.raises(BundleError, match="its last starts broke off"):
            node.sync()
        assert node.status().installed.release == 1


def test_crash_waits_to_be_reported(server, home):
    for _ in range(MAX_CRASHES + 1):
        start_in_child(home, server.transport)
    waiting = ReportLog(home / "reports.json").waiting()
    assert [(report.kind, report.release) for report in waiting][-1] == ("crashed", 2)
    installed = [report for report in waiting if report.kind == "installed"]
    assert [report.latency_ms for report in installed] in ([2.5, 2.5], []), (
        "sent already where the server takes reports"
    )


def test_only_bundle_that_breaks_off_is_opened_all_the_same(server, tmp_path, monkeypatch):
    monkeypatch.setattr(node_module, "Recommender", DeadlyRecommender)
    folder = tmp_path / "device"
    code = server.enrollment.new_code(valid_days=7)
    enroll(folder, server_url=URL, trusted_root=server.root, code=code, transport=server.transport)
    server.publish(write_bundle(tmp_path / "only", words="good"))
    with EdgeNode.open(folder, transport=server.transport, prove=lambda _: None) as node:
        bundle_id = node.sync().update.to_bundle_id
    for _ in range(MAX_CRASHES + 2):
        CrashGuard(folder / "starts.json").begin(bundle_id)
    with EdgeNode.open(folder, transport=server.transport) as node:
        assert node.recommender.folder.exists()
