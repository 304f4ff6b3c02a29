"""Reports about bundles: none that a server refuses, or that nobody may send, blocks another."""

import contextlib
import json

import msgspec
import pytest

from edge_runtime.contract.errors import DownloadError, HttpStatusError
from edge_runtime.contract.reports import DeviceReport, ReportBatch, ReportReceipt
from edge_runtime.feedback.bundle_reports import ReportLog
from edge_runtime.feedback.server_client import ServerClient
from edge_runtime.updates.http_transport import Answer


class Picky:
    """A server that stores reports unless one of the request is of a `refused` number; `fail` may raise before it answers."""

    def __init__(self, *refused, status=400, fail=lambda _: None):
        self.refused, self.status, self.fail = set(refused), status, fail
        self.stored = []

    @contextlib.contextmanager
    def open(self, method, url, *, headers=None, body=None):
        numbers = [report.number for report in msgspec.json.decode(body, type=ReportBatch).reports]
        self.fail(numbers)
        if self.refused & set(numbers):
            yield Answer(self.status, {}, iter([b'{"error":"a report is malformed; nothing was stored"}']))
            return
        self.stored += numbers
        yield Answer(200, {}, iter([msgspec.json.encode(ReportReceipt(numbers[-1], len(numbers)))]))


def server(transport):
    return ServerClient(transport, "http://server", "device-1", "secret")


def report(**fields):
    return DeviceReport(
        number=1, kind="installed", channel="stable", release=1, bundle_id="b", timestamp_s=1.0, **fields
    )


@pytest.fixture
def log(tmp_path):
    made = ReportLog(tmp_path / "reports.json", clock_s=lambda: 0.0)
    for _ in range(5):
        made.add(report())
    return made


@pytest.mark.parametrize("harm", [lambda path: path.unlink(), lambda path: path.write_bytes(b"garbage")])
def test_lost_log_is_begun_above_every_number_that_it_gave(tmp_path, harm):
    now = [100.0]
    log = ReportLog(tmp_path / "reports.json", clock_s=lambda: now[0])
    assert [log.add(report()).number for _ in range(2)] == [100_001, 100_002]
    harm(tmp_path / "reports.json")
    now[0] += 1
    assert [log.add(report()).number for _ in range(2)] == [101_001, 101_002]


def test_reports_travel_in_one_request(log):
    calls = []
    transport = Picky(fail=calls.append)
    assert log.send(server(transport)) == 5 and calls == [[1, 2, 3, 4, 5]]
    assert log.waiting() == [] and log.send(server(transport)) == 0


@pytest.mark.parametrize("status", [400, 413, 422])
def test_report_that_the_server_refuses_is_given_up_and_blocks_no_other(log, caplog, status):
    transport = Picky(2, 4, status=status)
    assert log.send(server(transport)) == 3
    assert transport.stored == [1, 3, 5] and log.waiting() == []
    assert caplog.text.count("is given up") == 2 and "report 2 (installed)" in caplog.text
    assert log.add(report()).number == 6


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_server_that_cannot_store_now_gets_the_reports_later(log, status):
    with pytest.raises(HttpStatusError):
        log.send(server(Picky(1, status=status)))
    assert [one.number for one in log.waiting()] == [1, 2, 3, 4, 5]


def test_network_that_fails_between_two_reports_loses_none(log):
    def fail(numbers):
        if numbers == [4]:
            raise DownloadError("the cable is out")

    transport = Picky(2, fail=fail)
    with pytest.raises(DownloadError, match="cable"):
        log.send(server(transport))
    assert transport.stored == [1, 3] and [one.number for one in log.waiting()] == [4, 5]
    transport.fail = lambda _: None
    assert log.send(server(transport)) == 2 and transport.stored == [1, 3, 4, 5]


def test_report_that_is_added_during_a_request_waits_for_the_next(log):
    transport = Picky(fail=lambda numbers: log.add(report()) if numbers[-1] == 5 else None)
    assert log.send(server(transport)) == 5
    assert [one.number for one in log.waiting()] == [6]


@pytest.mark.parametrize("name", ["e" * 300, "e\x00"])
def test_report_of_an_older_version_that_no_server_takes_is_given_up(log, tmp_path, name, caplog):
    path = tmp_path / "reports.json"
    kept = json.loads(path.read_text())
    kept["reports"][1]["reason"] = name
    path.write_text(json.dumps(kept))
    transport = Picky()
    assert log.send(server(transport)) == 4 and transport.stored == [1, 3, 4, 5]
    assert "report 2 (installed) is given up" in caplog.text and log.waiting() == []
