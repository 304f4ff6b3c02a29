"""A device as a whole, with a recommender that only remembers which folder it opened."""

import json
import random
import signal
import stat
import threading

import pytest

from edge_runtime import node as node_module
from edge_runtime.cli import node as node_cli
from edge_runtime.contract.errors import (
    BundleFormatError,
    ConfigError,
    DownloadError,
    ExpiredReleaseError,
    GoldenMismatchError,
    HttpStatusError,
    UpdateError,
)
from edge_runtime.contract.events import FeedbackEvent
from edge_runtime.node import EdgeNode, enroll
from edge_runtime.node_loop import next_delay_s, run_loop
from edge_runtime.updates.http_transport import Answer, retry_after_s
from pocketrec.verbs import main
from tests.support.fake_recommender import FakeRecommender
from tests.support.fleet_bundles import write_bundle
from tests.support.server_simulator import URL, changed_body


@pytest.fixture(autouse=True)
def _fake_recommender(monkeypatch):
    monkeypatch.setattr(node_module, "Recommender", FakeRecommender)


def join(server, home, **options):
    code = server.enrollment.new_code(valid_days=7)
    return enroll(home, server_url=URL, trusted_root=server.root, code=code, transport=server.transport, **options)


@pytest.fixture
def node(server, home):
    join(server, home, privacy="full")
    with EdgeNode.open(home, transport=server.transport) as opened:
        yield opened


def event(kind="click", **fields):
    return FeedbackEvent(kind=kind, product_id="p1", timestamp_s=1.0, bundle_id="b", **fields)


def test_sync_installs_and_sends(server, node, tmp_path):
    bundle = write_bundle(tmp_path / "b")
    server.publish(bundle)
    node.record(event())
    report = node.sync()
    assert report.update.to_bundle_id == bundle.bundle_id and report.feedback.sent == 1
    assert server.ingest.count_events() == 1
    status = node.status()
    assert status.installed.bundle_id == bundle.bundle_id and status.queue.waiting == 0


def test_recommender_follows_the_update(server, node, tmp_path):
    with pytest.raises(BundleFormatError, match="no bundle yet"):
        _ = node.recommender
    server.publish(write_bundle(tmp_path / "one", words="one"))
    node.sync()
    before = node.recommender
    assert node.recommender is before
    node.sync()
    assert node.recommender is before and not before.closed
    server.publish(write_bundle(tmp_path / "two", words="two"))
    node.sync()
    assert before.closed and node.recommender.folder != before.folder


def test_bundle_that_fails_its_proof_leaves_the_old_one_answering(server, node, tmp_path):
    server.publish(write_bundle(tmp_path / "one", words="one"))
    node.sync()
    before = node.recommender
    server.publish(write_bundle(tmp_path / "two", words="wrong"))
    with pytest.raises(GoldenMismatchError):
        node.sync()
    assert node.recommender is before and not before.closed


def test_bundle_that_no_longer_opens_gives_way_to_the_one_before(server, node, home, tmp_path):
    one = write_bundle(tmp_path / "one", words="one")
    server.publish(one)
    node.sync()
    server.publish(write_bundle(tmp_path / "two", words="two"))
    node.sync()
    (home / "current" / "bad").touch()
    assert node.recommender.folder.name == one.bundle_id[:24]
    assert node.status().installed.bundle_id == one.bundle_id


def test_only_bundle_that_does_not_open_is_told(server, node, home, tmp_path):
    server.publish(write_bundle(tmp_path / "one", words="one"))
    node.sync()
    (home / "current" / "bad").touch()
    with pytest.raises(BundleFormatError, match="bad"):
        _ = node.recommender


def test_feedback_is_sent_though_the_update_fails(server, node):
    node.record(event())
    with pytest.raises(HttpStatusError, match="nothing yet"):
        node.sync()
    assert server.ingest.count_events() == 1


def test_update_is_installed_though_feedback_fails(server, node, tmp_path):
    bundle = write_bundle(tmp_path / "b")
    server.publish(bundle)
    node.record(event())

    def fault(_method, path, answer):
        if path.endswith("feedback"):
            raise DownloadError("no feedback today")
        return answer

    server.transport.fault = fault
    with pytest.raises(DownloadError, match="no feedback today"):
        node.sync()
    assert node.status().installed.bundle_id == bundle.bundle_id
    assert node.status().queue.waiting == 1


def test_both_failures_are_told(server, node, caplog):
    node.record(event())

    def fault(_method, path, _answer):
        raise DownloadError(f"no {path}")

    server.transport.fault = fault
    with pytest.raises(DownloadError, match="offer"):
        node.sync()
    assert "feedback was not sent either" in caplog.text


def test_lost_receipt_counts_the_event_once(server, node, tmp_path):
    server.publish(write_bundle(tmp_path / "b"))
    node.record(event())

    def lost(_method, path, answer):
        if path.endswith("feedback"):
            raise DownloadError("the receipt was lost")
        return answer

    server.transport.fault = lost
    with pytest.raises(DownloadError):
        node.sync()
    server.transport.fault = lambda _m, _p, answer: answer
    node.sync()
    assert server.ingest.count_events() == 1 and node.status().queue.waiting == 0


def test_level_off_sends_nothing_that_was_recorded_before(server, home, tmp_path):
    server.publish(write_bundle(tmp_path / "b"))
    join(server, home, privacy="events")
    with EdgeNode.open(home, transport=server.transport) as node:
        node.record(event())
    settings = json.loads((home / "node.json").read_text()) | {"privacy": "off"}
    (home / "node.json").write_text(json.dumps(settings))
    with EdgeNode.open(home, transport=server.transport) as node:
        assert node.sync().feedback.sent == 0
        assert node.status().queue.waiting == 0
    assert server.ingest.count_events() == 0
    assert not any("feedback" in request for request in server.transport.requests)


def test_credential_is_readable_to_its_owner_only(server, home):
    join(server, home)
    assert stat.S_IMODE((home / "credential").stat().st_mode) == 0o600
    assert (home / "credential").read_text() not in (home / "node.json").read_text()


def test_enrollment_whose_answer_was_lost_carries_on(server, home):
    code = server.enrollment.new_code(valid_days=7)
    options = {"server_url": URL, "trusted_root": server.root, "code": code, "transport": server.transport}

    def lost(_method, _path, _answer):
        raise DownloadError("the answer was lost")

    server.transport.fault = lost
    with pytest.raises(DownloadError):
        enroll(home, **options)
    server.transport.fault = lambda _m, _p, answer: answer
    assert enroll(home, **options).device_id.startswith("device-")


def test_enrollment_says_why_it_was_refused(server, home):
    with pytest.raises(HttpStatusError, match="403: the enrollment code is unknown"):
        enroll(home, server_url=URL, trusted_root=server.root, code="guess", transport=server.transport)
    with pytest.raises(ConfigError, match="not the home of an enrolled device"):
        EdgeNode.open(home)


def test_malformed_answer_to_an_enrollment_is_named(server, home):
    server.transport.fault = lambda _m, _p, _a: Answer(200, {}, iter([b"[]"]))
    with pytest.raises(DownloadError, match="enrollment is malformed"):
        join(server, home)


def test_home_is_enrolled_once(server, home):
    join(server, home)
    with pytest.raises(ConfigError, match="enrolled already"):
        join(server, home)


def test_malformed_settings_are_named(server, home):
    join(server, home)
    (home / "node.json").write_text('{"privacy": "counts"}')
    with pytest.raises(ConfigError, match="is malformed"):
        EdgeNode.open(home)


def test_delay_is_jittered_after_success_and_grows_after_failures():
    chance = random.Random(1)
    calm = [next_delay_s(300, 0, chance) for _ in range(200)]
    assert min(calm) >= 270 and max(calm) <= 330 and max(calm) - min(calm) > 30
    for failures, longest in [(1, 5), (2, 10), (4, 40), (30, 300), (10_000, 300)]:
        delays = [next_delay_s(300, failures, chance) for _ in range(100)]
        assert longest / 2 <= min(delays) and max(delays) <= longest


def test_servers_wish_to_be_left_alone_is_kept():
    chance = random.Random(1)
    delays = [next_delay_s(300, 1, chance, retry_after_s=600) for _ in range(100)]
    assert min(delays) >= 600 and max(delays) <= 660 and max(delays) - min(delays) > 20


def test_retry_after_of_the_server_delays_the_loop(server, node, caplog):
    stop, waits = threading.Event(), []

    def fault(_method, _path, _answer):
        return Answer(503, {"retry-after": "120"}, iter([b"{}"]))

    def wait(seconds):
        waits.append(seconds)
        stop.set()

    node.record(event())
    server.transport.fault = lambda m, p, a: fault(m, p, a) if p.endswith("feedback") else a
    stop_proxy = type("Stop", (), {"is_set": stop.is_set, "wait": staticmethod(wait)})()
    server.publish(write_bundle(server.keys.parent / "b"))
    run_loop(node.sync, interval_s=10, stop=stop_proxy, report=lambda _: None, chance=random.Random(1))
    assert waits[0] >= 120


def test_retry_after_counts_behind_signatures_that_are_out_of_date():
    waits = []

    def sync():
        refusal = HttpStatusError("busy", status_code=503, retry_after_s=120)
        raise ExpiredReleaseError("busy; signatures expired") from refusal

    class Once:
        def is_set(self):
            return bool(waits)

        def wait(self, seconds):
            waits.append(seconds)

    run_loop(sync, interval_s=10, stop=Once(), report=lambda _: None, chance=random.Random(1))
    assert waits[0] >= 120


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("120", 120), ("", 0), ("soon", 0), ("-5", 0), ("9" * 30, 86_400), ("Thu, 01 Jan 1970 00:02:00 GMT", 120)],
)
def test_retry_after_is_a_number_or_a_date(value, seconds):
    assert retry_after_s(value, now_s=0.0) == seconds


def test_loop_goes_on_after_a_failure_and_stops_when_told(caplog):
    stop, reports, calls = threading.Event(), [], []

    def sync():
        calls.append(1)
        if len(calls) == 1:
            raise UpdateError("the cable is out")
        stop.set()
        return "report"

    class Eager(random.Random):
        def uniform(self, a, b):
            return 0.0

    run_loop(sync, interval_s=300, stop=stop, report=reports.append, chance=Eager())
    assert reports == ["report"] and "the cable is out" in caplog.text


# The commands


@pytest.fixture
def wired(server, monkeypatch):
    """The commands, with the simulated server behind the real transport's name."""
    monkeypatch.setattr(node_module, "HttpTransport", lambda: server.transport)
    return server


def command(*arguments, capsys=None):
    code = main(["node", *map(str, arguments)])
    return code, capsys.readouterr()


def enrollment(server, tmp_path):
    (tmp_path / "code").write_text(server.enrollment.new_code(valid_days=7) + "\n")
    return ["--server", URL, "--root", server.keys / "root.json", "--code-file", tmp_path / "code"]


def test_commands_of_a_device(wired, home, tmp_path, capsys):
    bundle = write_bundle(tmp_path / "b")
    wired.publish(bundle)
    code, out = command("enroll", *enrollment(wired, tmp_path), "--home", home, capsys=capsys)
    assert code == 0 and "enrolled as device-" in out.out
    code, out = command("record", "--home", home, "--kind", "click", "--product", "p1", capsys=capsys)
    assert code == 0 and "event 1" in out.out
    code, out = command("sync", "--home", home, capsys=capsys)
    assert code == 0 and "installed release 1" in out.out and "1 events sent" in out.out
    code, out = command("sync", "--home", home, "--json", capsys=capsys)
    assert json.loads(out.out)["update"]["bytes_downloaded"] == 0
    code, out = command("status", "--home", home, "--json", capsys=capsys)
    assert json.loads(out.out)["installed"]["bundle_id"] == bundle.bundle_id
    code, out = command("status", "--home", home, capsys=capsys)
    assert "release 1" in out.out and "0 events wait" in out.out


CODES = "\x1b]0;owned\x07\x9b2J"


def answer_with(part, **fields):
    """A server that changes fields of the answers whose path ends with `part`."""

    def fault(_method, path, answer):

        def change(data):
            return json.dumps({**json.loads(data), **fields}).encode()

        return changed_body(answer, change) if path.endswith(part) else answer

    return fault


def test_terminal_codes_of_a_server_are_not_printed_raw(wired, home, tmp_path, capsys):
    wired.publish(write_bundle(tmp_path / "b"))
    wired.transport.fault = answer_with("/enroll", device_id=f"device-{CODES}")
    _, enrolled = command("enroll", *enrollment(wired, tmp_path), "--home", home, capsys=capsys)
    (home / "node.json").unlink()
    wired.transport.fault = lambda _m, _p, answer: answer
    command("enroll", *enrollment(wired, tmp_path), "--home", home, capsys=capsys)
    command("record", "--home", home, "--kind", "click", "--product", "p1", capsys=capsys)
    wired.transport.fault = answer_with("/feedback", refused=[f"no\n{CODES}"])
    code, synced = command("sync", "--home", home, capsys=capsys)
    assert code == 0 and synced.out.count("\n") == 2, "a reason stays on its line"
    for out in (enrolled, synced):
        assert "\\x1b]0;owned\\x07\\x9b2J" in out.out
        assert not set(CODES) & set("\x1b\x07\x9b") & set(out.out + out.err)


def test_first_sync_may_enroll(wired, home, tmp_path, capsys):
    wired.publish(write_bundle(tmp_path / "b"))
    code, _ = command("sync", *enrollment(wired, tmp_path), "--home", home, capsys=capsys)
    assert code == 0
    code, out = command("sync", "--server", "http://127.0.0.1:1", "--home", home, capsys=capsys)
    assert code == 1 and "is enrolled with" in out.err


def test_command_without_enrollment_is_told_what_to_do(home, capsys):
    code, out = command("sync", "--home", home, capsys=capsys)
    assert code == 1 and "pocketrec node enroll" in out.err and "Traceback" not in out.err


def test_code_file_that_is_missing_is_named(wired, home, tmp_path, capsys):
    arguments = ["--server", URL, "--root", wired.keys / "root.json", "--code-file", tmp_path / "none"]
    code, out = command("enroll", *arguments, "--home", home, capsys=capsys)
    assert code == 1 and "cannot read" in out.err


def test_interval_must_be_positive(wired, home, capsys):
    join(wired, home)
    code, out = command("run", "--home", home, "--interval", "0", capsys=capsys)
    assert code == 1 and "--interval" in out.err


def test_run_stops_at_sigterm(wired, home, tmp_path, capsys):
    wired.publish(write_bundle(tmp_path / "b"))
    join(wired, home)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def fault(_method, path, answer):
        if path.endswith("/offer"):
            signal.raise_signal(signal.SIGTERM)
        return answer

    wired.transport.fault = fault
    try:
        code, out = command("run", "--home", home, "--json", capsys=capsys)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert code == 0 and json.loads(out.out)["update"]["release"] == 1


def test_recording_at_level_off_says_so(wired, home, capsys):
    join(wired, home, privacy="off")
    code, out = command("record", "--home", home, "--kind", "click", "--product", "p1", capsys=capsys)
    assert code == 0 and "not recorded" in out.out


def test_long_download_shows_progress(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(node_cli.time, "monotonic", lambda: now[0])
    hear = node_cli._progress()
    hear(500_000)
    now[0] = 2.0
    hear(1_000_000)
    assert capsys.readouterr().err == "downloaded 1.5 MB\n"


def test_refused_events_are_shown():
    from edge_runtime.feedback.event_queue import SendReport
    from edge_runtime.node import SyncReport
    from edge_runtime.updates.updater import UpdateReport

    report = SyncReport(UpdateReport("a", "a", 1, 0, 0, 0), SendReport(2, ["event 3: no"]))
    assert node_cli._sync_line(report) == "up to date with release 1, bundle a; 2 events sent\n  refused: event 3: no"
