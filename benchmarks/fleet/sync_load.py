"""The server under load: events stored per second, "anything new?" answers, and their latency under both."""

import contextlib
import multiprocessing
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection

import msgspec
import urllib3

from benchmarks.fleet.http_load import LoadResult, http_request, run_load
from benchmarks.fleet.server_process import Credentials, ServerProcess
from edge_runtime.contract.bundle import Bundle
from edge_runtime.contract.errors import PocketrecError
from edge_runtime.contract.events import FeedbackBatch, FeedbackEvent, SequencedEvent
from pocketrec.publishing.publisher import LocalTarget, publish
from sync_server.hosting.home import open_repository

BATCH_EVENTS = 100
_KINDS = ("impression", "click", "impression", "purchase")


class LoadError(PocketrecError):
    """The server did not answer as it must; the figures would say nothing."""


@dataclass(frozen=True)
class StoringFigures:
    """Feedback: events that were acknowledged per second, and that all of them, and no more, are stored."""

    database: str
    events_per_second: float
    events: int
    stored: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class FreshnessFigures:
    """Answers to "anything new?" per second and latency, alone and while feedback comes."""

    answers_per_second: float
    p50_ms: float
    p99_ms: float
    answer_bytes: float
    answers_per_second_under_feedback: float
    p99_ms_under_feedback: float
    feedback_events_per_second: float


def encode_batch(device_id: str, first: int, events: int = BATCH_EVENTS) -> bytes:
    """Return a batch of `events` events from number `first` as a device would send it."""
    items = [
        SequencedEvent(
            number,
            FeedbackEvent(
                kind=_KINDS[number % len(_KINDS)],
                product_id=f"product-{number * 7919 % 5000}",
                timestamp_s=1_790_000_000.0 + number,
                bundle_id="0f" * 32,
                position=number % 10 + 1,
                propensity=0.5,
            ),
        )
        for number in range(first, first + events)
    ]
    return msgspec.json.encode(FeedbackBatch(version=1, device_id=device_id, events=items))


def feedback_requests(devices: list[Credentials], *, batches: int) -> list[list[bytes]]:
    """Return for each device its requests, made before the measurement."""
    return [
        [
            http_request(
                "POST",
                "/v1/feedback",
                headers={"Authorization": f"Bearer {device.credential}", "Content-Type": "application/json"},
                body=encode_batch(device.device_id, number * BATCH_EVENTS + 1),
            )
            for number in range(batches)
        ]
        for device in devices
    ]


def one_after_another(requests: list[list[bytes]]) -> Callable[[int], bytes | None]:
    """Return `next_request` for run_load: connection n sends the requests of device n."""
    iterators = [iter(own) for own in requests]
    return lambda number: next(iterators[number], None)


def measure_storing(server: ServerProcess, *, seconds: float, connections: int = 16) -> StoringFigures:
    """Store batches of 100 events for some seconds; every batch is new.

    Raises:
        LoadError: a batch was refused, or what is stored is not what was acknowledged.
    """
    # More than can be sent in the time.
    batches = int(seconds * 1_000 / connections) + 1
    requests = feedback_requests(server.enroll(connections), batches=batches)
    before = server.count_events()
    result = run_load(server.port, one_after_another(requests), connections=connections, seconds=seconds)
    _check(result, 200)
    events = result.statuses[200] * BATCH_EVENTS
    # Answers that were on their way when the time was over are stored as well.
    time.sleep(0.5)
    stored = server.count_events() - before
    if not events <= stored <= events + connections * BATCH_EVENTS:
        raise LoadError(f"{events} events were acknowledged, {stored} are stored")
    return StoringFigures(
        database="PostgreSQL" if server.config.database_url else "SQLite",
        events_per_second=events / result.seconds,
        events=events,
        stored=stored,
        p50_ms=result.percentile_ms(50),
        p99_ms=result.percentile_ms(99),
    )


def publish_to(server: ServerProcess, bundle: Bundle, *, channel: str = "stable") -> None:
    """Publish a bundle into a running server's home."""
    target = LocalTarget(open_repository(server.config), max_file_bytes=server.config.max_file_bytes)
    publish(bundle.folder, channel=channel, keys=server.keys, target=target)


def measure_freshness(server: ServerProcess, *, seconds: float, connections: int = 16) -> FreshnessFigures:
    """Ask "anything new?" for some seconds when nothing is, then once more while feedback is stored.

    Raises:
        LoadError: an answer was not 304.
    """
    path = "/v1/channels/stable/offer"
    first = urllib3.request("GET", f"http://127.0.0.1:{server.port}{path}", retries=False)
    if first.status != 200:
        raise LoadError(f"expected an offer, got status {first.status}")
    ask = http_request("GET", path, headers={"If-None-Match": first.headers["ETag"]})
    alone = run_load(server.port, lambda _: ask, connections=connections, seconds=seconds)
    _check(alone, 304)
    with _feedback_in_the_background(server, seconds=seconds) as feedback:
        under = run_load(server.port, lambda _: ask, connections=connections, seconds=seconds)
    _check(under, 304)
    return FreshnessFigures(
        answers_per_second=alone.answers_per_second,
        p50_ms=alone.percentile_ms(50),
        p99_ms=alone.percentile_ms(99),
        answer_bytes=alone.answer_bytes / sum(alone.statuses.values()),
        answers_per_second_under_feedback=under.answers_per_second,
        p99_ms_under_feedback=under.percentile_ms(99),
        feedback_events_per_second=feedback.events_per_second,
    )


def _check(result: LoadResult, status: int) -> None:
    if set(result.statuses) != {status} or result.broken:
        raise LoadError(f"expected answers {status} only, got {dict(result.statuses)}, {result.broken} broken off")


@dataclass
class _Background:
    events_per_second: float = 0.0


@contextlib.contextmanager
def _feedback_in_the_background(server: ServerProcess, *, seconds: float) -> Iterator[_Background]:
    """Send batches from a second process, each as soon as the one before is acknowledged."""
    connections = 4
    requests = feedback_requests(server.enroll(connections), batches=int(seconds * 500 / connections) + 1)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_send_feedback, args=(server.port, requests, seconds, sender))
    child.start()
    found = _Background()
    try:
        yield found
        result: LoadResult = receiver.recv()
        _check(result, 200)
        found.events_per_second = result.statuses[200] * BATCH_EVENTS / result.seconds
    finally:
        child.join(timeout=60)
        child.close()


def _send_feedback(port: int, requests: list[list[bytes]], seconds: float, sender: Connection) -> None:
    sender.send(run_load(port, one_after_another(requests), connections=len(requests), seconds=seconds))
