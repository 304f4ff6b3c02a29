"""The durable queue: bound, numbers, privacy, sending."""

import sqlite3
from dataclasses import dataclass, field

import msgspec
import pytest
import zstandard

from edge_runtime.contract.errors import (
    ConfigError,
    DownloadError,
    EventRejectedError,
    FeedbackError,
    HttpStatusError,
    QueueFullError,
    StorageError,
)
from edge_runtime.contract.events import EVENT_KINDS, FeedbackBatch, FeedbackEvent, FeedbackReceipt
from edge_runtime.feedback import event_queue, privacy
from edge_runtime.feedback.event_queue import FeedbackQueue, send_feedback
from edge_runtime.feedback.privacy import check_privacy_level, permitted
from edge_runtime.feedback.server_client import ServerClient
from edge_runtime.updates.http_transport import Answer


def event(kind="click", product="p1", **fields):
    return FeedbackEvent(kind=kind, product_id=product, timestamp_s=1.0, bundle_id="b", **fields)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "feedback.sqlite"


@pytest.fixture
def queue(path):
    with FeedbackQueue(path, privacy="full") as opened:
        yield opened


def test_events_survive_a_restart_in_order(path):
    with FeedbackQueue(path) as queue:
        assert [queue.record(event(product=f"p{i}")) for i in range(3)] == [1, 2, 3]
    with FeedbackQueue(path) as queue:
        assert [(item.sequence, item.event.product_id) for item in queue.batch()] == [(1, "p0"), (2, "p1"), (3, "p2")]


def test_number_is_never_given_twice(path):
    with FeedbackQueue(path) as queue:
        queue.record(event())
        queue.record(event())
        queue.acknowledge(2)
    with FeedbackQueue(path) as queue:
        assert queue.batch() == []
        assert queue.record(event()) == 3


def test_acknowledging_keeps_later_events(queue):
    for _ in range(3):
        queue.record(event())
    queue.acknowledge(2)
    assert [item.sequence for item in queue.batch()] == [3]


def test_acknowledging_twice_is_harmless(queue):
    queue.record(event())
    queue.acknowledge(1)
    queue.acknowledge(1)
    assert queue.status().waiting == 0


def test_full_queue_drops_the_oldest_impressions_and_counts_them(path):
    with FeedbackQueue(path, max_events=3) as queue:
        for kind in ("impression", "impression", "click", "purchase"):
            queue.record(event(kind))
        assert [item.sequence for item in queue.batch()] == [2, 3, 4]
        assert queue.status().dropped == 1


def test_full_queue_without_impressions_refuses_a_click(path):
    with FeedbackQueue(path, max_events=2) as queue:
        queue.record(event())
        queue.record(event())
        with pytest.raises(QueueFullError, match="holds its 2 events"):
            queue.record(event("purchase"))
        assert queue.record(event("impression")) is None
        assert queue.status().dropped == 1
        assert [item.sequence for item in queue.batch()] == [1, 2]


def test_lowered_bound_makes_room_for_more_than_one(path):
    with FeedbackQueue(path, max_events=5) as queue:
        for _ in range(5):
            queue.record(event("impression"))
    with FeedbackQueue(path, max_events=2) as queue:
        queue.record(event())
        assert [item.sequence for item in queue.batch()] == [5, 6]


def test_batch_is_bounded_by_number_and_by_bytes(queue):
    for _ in range(4):
        queue.record(event(query="q" * 1_000))
    assert len(queue.batch(3)) == 3
    assert len(queue.batch(max_bytes=2_500)) == 2
    assert len(queue.batch(max_bytes=1)) == 1


def test_level_events_never_stores_the_query(path):
    with FeedbackQueue(path, privacy="events") as queue:
        queue.record(event(query="private words"))
    assert b"private words" not in b"".join(file.read_bytes() for file in path.parent.iterdir())


def test_level_that_was_lowered_holds_for_older_events(path):
    with FeedbackQueue(path, privacy="full") as queue:
        queue.record(event(query="private words"))
        assert queue.batch()[0].event.query == "private words"
    with FeedbackQueue(path, privacy="events") as queue:
        assert queue.batch()[0].event.query is None
    with FeedbackQueue(path, privacy="off") as queue:
        assert queue.batch() == []


def test_level_off_stores_nothing(path):
    with FeedbackQueue(path, privacy="off") as queue:
        assert queue.record(event()) is None
        assert queue.status().waiting == 0


def test_forget_removes_everything_and_keeps_the_numbers(queue):
    queue.record(event())
    assert queue.forget() == 1
    assert queue.record(event()) == 2


def test_full_level_lets_the_query_pass():
    assert permitted(event(query="q"), "full") == event(query="q")


def test_unknown_level_names_the_known_ones():
    with pytest.raises(ConfigError, match="off, counts, events, full"):
        check_privacy_level("all")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"product": ""}, "product_id"),
        ({"product": "p" * 201}, "product_id"),
        ({"position": 0}, "position"),
        ({"propensity": 0.0}, "propensity"),
        ({"propensity": 1.5}, "propensity"),
        ({"propensity": float("nan")}, "propensity"),
        ({"query": "q" * 2_001}, "query"),
    ],
)
def test_malformed_event_is_rejected(queue, fields, named):
    with pytest.raises(EventRejectedError, match=named):
        queue.record(event(**fields))
    assert queue.status().waiting == 0


def test_event_without_a_time_or_with_an_endless_bundle_is_rejected(queue):
    with pytest.raises(EventRejectedError, match="timestamp_s"):
        queue.record(msgspec.structs.replace(event(), timestamp_s=float("inf")))
    with pytest.raises(EventRejectedError, match="bundle_id"):
        queue.record(msgspec.structs.replace(event(), bundle_id="b" * 201))


def test_file_that_is_no_queue_is_named(path):
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(FeedbackError, match="not a feedback queue or is damaged"):
        FeedbackQueue(path)


def test_folder_that_is_missing_is_named(tmp_path):
    with pytest.raises(StorageError, match="cannot use"):
        FeedbackQueue(tmp_path / "none" / "feedback.sqlite")


def test_stored_event_that_cannot_be_read_is_dropped_and_counted(path, queue, caplog):
    queue.record_all([event()] * 3)
    other = sqlite3.connect(path)
    other.execute("UPDATE events SET event = x'80' WHERE sequence < 3")
    other.commit()
    other.close()
    assert [item.sequence for item in queue.batch(2)] == [3]
    assert queue.status().dropped == 2 and "2 events that cannot be read" in caplog.text


def newer_runtime_records(path, kind, number=1):
    """Store events as a runtime would that knows `kind`."""
    other = sqlite3.connect(path)
    data = msgspec.json.encode(event(kind=kind))
    other.executemany("INSERT INTO events (impression, event) VALUES (0, ?)", [(data,)] * number)
    other.commit()
    other.close()


def test_unknown_kind_is_rejected_with_the_known_ones_named(queue):
    with pytest.raises(EventRejectedError, match=r"expected one of impression, view, click.*got 'wishlist'"):
        queue.record(event(kind="wishlist"))
    assert queue.status().waiting == 0


def test_view_keeps_no_query_at_any_level(queue):
    queue.record(event(kind="view", query="lamp"))
    assert queue.batch()[0].event.query is None


def test_events_of_an_unknown_kind_are_set_aside_and_the_rest_is_sent(path, queue):
    queue.record(event())
    newer_runtime_records(path, "wishlist", 600)
    queue.record(event(product="last"))
    server = FakeServer()
    assert send(queue, server).sent == 2
    assert [item.sequence for batch in server.batches for item in batch.events] == [1, 602]
    assert (queue.status().waiting, queue.status().set_aside) == (0, 600)


def test_runtime_that_knows_the_kind_takes_back_what_was_set_aside(path, queue, monkeypatch):
    newer_runtime_records(path, "wishlist")
    assert queue.batch() == []
    monkeypatch.setattr(event_queue, "EVENT_KINDS", {**EVENT_KINDS, "wishlist": EVENT_KINDS["cart"]})
    monkeypatch.setattr(privacy, "EVENT_KINDS", event_queue.EVENT_KINDS)
    with FeedbackQueue(path) as newer:
        assert [(item.sequence, item.event.kind) for item in newer.batch()] == [(1, "wishlist")]
        assert newer.status().set_aside == 0


def test_forgetting_removes_what_was_set_aside(path, queue):
    newer_runtime_records(path, "wishlist")
    queue.batch()
    assert queue.forget() == 1 and queue.status().set_aside == 0


def test_unknown_field_of_a_stored_event_is_ignored(path, queue):
    queue.record(event())
    other = sqlite3.connect(path)
    other.execute("UPDATE events SET event = ?", (msgspec.json.encode(event())[:-1] + b',"mood":"good"}',))
    other.commit()
    other.close()
    assert queue.batch()[0].event == event()


@dataclass
class FakeServer:
    """A transport that remembers batches and answers with `answer(batch)`."""

    batches: list[FeedbackBatch] = field(default_factory=list)

    def answer(self, batch):
        return FeedbackReceipt(batch.events[-1].sequence, len(batch.events), 0, [])

    def open(self, method, url, *, headers=None, body=None):
        if headers.get("Content-Encoding") == "zstd":
            body = zstandard.ZstdDecompressor().decompress(body)
        batch = msgspec.json.decode(body, type=FeedbackBatch)
        self.batches.append(batch)
        assert headers["Authorization"] == "Bearer secret"
        return _Context(Answer(200, {"content-type": "application/json"}, iter([self.encode(batch)])))

    def encode(self, batch):
        return msgspec.json.encode(self.answer(batch))


class _Context:
    def __init__(self, answer):
        self.answer = answer

    def __enter__(self):
        return self.answer

    def __exit__(self, *_):
        return None


def send(queue, server):
    return send_feedback(queue, ServerClient(server, "http://s", "d", "secret"))


def test_sending_empties_the_queue(queue):
    for _ in range(700):
        queue.record(event())
    server = FakeServer()
    report = send(queue, server)
    assert (report.sent, report.refused) == (700, [])
    assert [len(batch.events) for batch in server.batches] == [500, 200]
    assert queue.status().waiting == 0


def test_refused_events_are_told_and_not_sent_again(queue):
    class Refusing(FakeServer):
        def answer(self, batch):
            return FeedbackReceipt(batch.events[-1].sequence, 1, 0, ["event 1: no"])

    queue.record(event())
    queue.record(event())
    report = send(queue, Refusing())
    assert (report.sent, report.refused) == (1, ["event 1: no"])
    assert queue.batch() == []


@pytest.mark.parametrize("wrong", [-1, 0, 1, 99])
def test_receipt_that_cannot_be_true_keeps_the_events(queue, wrong):
    class Lying(FakeServer):
        def answer(self, batch):
            return FeedbackReceipt(wrong, 0, 0, [])

    queue.record(event())
    queue.record(event())
    with pytest.raises(DownloadError, match="acknowledged event"):
        send(queue, Lying())
    assert queue.status().waiting == 2


def test_malformed_receipt_keeps_the_events(queue):
    class Mumbling(FakeServer):
        def encode(self, batch):
            return b"ok"

    queue.record(event())
    with pytest.raises(DownloadError, match="receipt is malformed"):
        send(queue, Mumbling())
    assert queue.status().waiting == 1


def test_refused_credential_keeps_the_events(queue):
    class Refusing(FakeServer):
        def open(self, method, url, *, headers=None, body=None):
            return _Context(Answer(401, {}, iter([b'{"error":"no device holds this credential"}'])))

    queue.record(event())
    with pytest.raises(HttpStatusError, match="401: no device holds this credential"):
        send(queue, Refusing())
    assert queue.status().waiting == 1


def test_large_batch_travels_compressed(queue):
    for _ in range(100):
        queue.record(event())
    bodies = []

    class Listening(FakeServer):
        def open(self, method, url, *, headers=None, body=None):
            bodies.append((headers.get("Content-Encoding"), len(body)))
            return super().open(method, url, headers=headers, body=body)

    server = Listening()
    send(queue, server)
    encoding, size = bodies[0]
    assert encoding == "zstd" and size < len(msgspec.json.encode(server.batches[0])) / 10
