"""A device killed while it records or sends: nothing acknowledged is lost, nothing is counted twice."""

import subprocess
import sys
from dataclasses import replace

import pytest

from edge_runtime.contract.events import FeedbackEvent
from edge_runtime.feedback.event_queue import FeedbackQueue, send_feedback
from edge_runtime.feedback.server_client import ServerClient
from tests.support.server_simulator import URL, ServerSimulator
from tests.support.source_tree import REPOSITORY
from tests.unit.sync_server.api.test_feedback_endpoint import CREDENTIAL, enroll


class Killed(BaseException):
    """Stands for the end of the process: nothing after it runs."""


@pytest.mark.parametrize("lines", [1, 30])
def test_kill_in_the_middle_of_recording_loses_no_acknowledged_event(tmp_path, lines):
    path = tmp_path / "queue.sqlite"
    command = [sys.executable, "-m", "tests.support.queue_process", str(path)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        promised = [int(process.stdout.readline()) for _ in range(lines)]
        process.kill()
        promised += [int(line) for line in process.stdout.read().splitlines() if line]
    with FeedbackQueue(path) as queue:
        kept = [item.sequence for item in queue.batch(100_000, max_bytes=10**9)]
        assert kept[: len(promised)] == promised and len(kept) <= len(promised) + 1
        assert queue.record(FeedbackEvent(kind="click", product_id="p", timestamp_s=1.0, bundle_id="b")) == kept[-1] + 1


@pytest.mark.parametrize("moment", ["before the server hears", "after the server stored", "before it is acknowledged"])
def test_kill_while_sending_counts_every_event_once(tmp_path, moment):
    server = ServerSimulator(tmp_path / "sim")
    device_id = enroll(server).json["device_id"]
    path = tmp_path / "queue.sqlite"
    with FeedbackQueue(path) as queue:
        queue.record_all([FeedbackEvent(kind="click", product_id="p", timestamp_s=1.0, bundle_id="b")] * 520)

    def kill(*_, **__):
        raise Killed

    client = ServerClient(server.transport, URL, device_id, CREDENTIAL)
    with FeedbackQueue(path) as queue:
        if moment == "before the server hears":
            client = replace(client, transport=type("Dead", (), {"open": kill})())
        elif moment == "after the server stored":
            server.transport.fault = kill
        else:
            queue.acknowledge = kill
        with pytest.raises(Killed):
            send_feedback(queue, client)
    server.transport.fault = lambda _m, _p, answer: answer
    with FeedbackQueue(path) as queue:
        send_feedback(queue, replace(client, transport=server.transport))
        assert queue.status().waiting == 0
    assert server.ingest.count_events() == 520
    server.close()
