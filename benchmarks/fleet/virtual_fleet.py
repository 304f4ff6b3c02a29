"""A fleet of virtual devices over loopback, with failures of every kind: no event may be lost or doubled.

A virtual device has its queue in memory, with the rules of the real one (edge_runtime/feedback/event_queue.py): numbers
rise and are never reused, the oldest events are sent first, and only a receipt removes them. Requests and answers are
lost, requests arrive twice or late and out of order, clocks are wrong by up to a year, devices crash between a receipt
and the removal of the events, and the server and its database are killed during the run.
"""

import random
import selectors
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec
from sqlalchemy import select

from benchmarks.fleet.http_load import Exchange, http_request
from benchmarks.fleet.server_process import Credentials, ServerProcess
from edge_runtime.contract.errors import PocketrecError
from edge_runtime.contract.events import FeedbackBatch, FeedbackEvent, FeedbackReceipt, SequencedEvent
from sync_server.database.engine import open_database, reading
from sync_server.database.tables.events import Event

_MAX_BATCH = 50
_YEAR_S = 31_536_000.0
_CONNECTIONS = 48
_GIVE_UP_S = 900.0

Fate = Literal["arrives", "request lost", "answer lost", "sent twice", "delayed copy", "crash after answer"]
# What happens to a request, and how often.
FATES: dict[Fate, float] = {
    "arrives": 0.60,
    "request lost": 0.10,
    "answer lost": 0.10,
    "sent twice": 0.05,
    "delayed copy": 0.10,
    "crash after answer": 0.05,
}


class FleetError(PocketrecError):
    """The fleet did not come to rest."""


@dataclass(frozen=True)
class FleetReport:
    """What became of the events; `lost` and `doubled` must be 0.

    `misdated` counts events whose stored time is off by more than five minutes although the device's clock was wrong by
    up to a year; `fates` what happened to the requests.
    """

    devices: int
    events: int
    stored: int
    lost: int
    doubled: int
    changed: int
    misdated: int
    requests: int
    fates: dict[str, int]
    statuses: dict[int, int]
    broken_connections: int
    server_crashes: int
    seconds: float


@dataclass
class VirtualDevice:
    """One device: a queue, a wrong clock, and numbers that only rise."""

    credentials: Credentials
    skew_s: float
    rounds_left: int
    pending: deque[SequencedEvent] = field(default_factory=deque)
    last_sequence: int = 0

    def record(self, count: int) -> None:
        """Put `count` new events into the queue."""
        for _ in range(count):
            self.last_sequence += 1
            event = FeedbackEvent(
                kind="click" if self.last_sequence % 5 == 0 else "impression",
                product_id=event_identity(self.credentials.device_id, self.last_sequence),
                timestamp_s=time.time() + self.skew_s,
                bundle_id="0f" * 32,
                position=self.last_sequence % 10 + 1,
            )
            self.pending.append(SequencedEvent(self.last_sequence, event))

    def request(self, rng: random.Random) -> tuple[bytes, int]:
        """Return the next request and the last number in it; after a crash the batch may be cut elsewhere."""
        count = min(len(self.pending), rng.randint(1, _MAX_BATCH))
        events = [self.pending[index] for index in range(count)]
        batch = FeedbackBatch(
            version=1, device_id=self.credentials.device_id, events=events, sent_at_s=time.time() + self.skew_s
        )
        headers = {"Authorization": f"Bearer {self.credentials.credential}", "Content-Type": "application/json"}
        return http_request("POST", "/v1/feedback", headers=headers, body=msgspec.json.encode(batch)), events[
            -1
        ].sequence

    def acknowledge(self, last: int) -> None:
        """Forget the events up to number `last`."""
        while self.pending and self.pending[0].sequence <= last:
            self.pending.popleft()


def event_identity(device_id: str, sequence: int) -> str:
    """Return the product that this event is about: no two events share one, so that a doubled event is seen."""
    return f"{device_id}/{sequence}"


@dataclass
class _Sent:
    device: VirtualDevice | None
    last: int
    fate: Fate


class Fleet:
    """Drives the devices until every queue is empty.

    Args:
        server: the server; its devices are enrolled here.
        devices: how many.
        rounds: how often each device records events.
        events_per_round: at most how many events at a time.
        crashes: called one after another while the fleet sends, evenly spread; each kills and restarts something.
        seed: of everything random.
        on_progress: hears how many devices have come to rest.
    """

    def __init__(
        self,
        server: ServerProcess,
        *,
        devices: int,
        rounds: int = 3,
        events_per_round: int = 20,
        crashes: Sequence[Callable[[], None]] = (),
        seed: int = 7,
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._server = server
        self._rng = random.Random(seed)
        self._events_per_round = events_per_round
        self._on_progress = on_progress
        self.devices = [
            VirtualDevice(credentials, self._rng.choice((0.0, 1.0)) * self._rng.uniform(-_YEAR_S, _YEAR_S), rounds)
            for credentials in server.enroll(devices)
        ]
        self._ready = deque(self.devices)
        self._late: deque[tuple[float, bytes]] = deque()
        self._fates: Counter[Fate] = Counter()
        self._statuses: Counter[int] = Counter()
        self._broken = 0
        self._resting = 0
        self._crashes = [(devices * (number + 1) // (len(crashes) + 1), crash) for number, crash in enumerate(crashes)]
        self._crashed = 0
        self._selector = selectors.DefaultSelector()

    def run(self) -> FleetReport:
        """Let every device record and send all of its events; compare with what is stored.

        Raises:
            FleetError: some devices could not get rid of their events.
        """
        began = time.perf_counter()
        while self._resting < len(self.devices) or self._late or self._selector.get_map():
            self._crash_when_due()
            self._send_what_is_ready()
            self._take_answers()
            if time.perf_counter() - began > _GIVE_UP_S:
                raise FleetError(
                    f"{len(self.devices) - self._resting} devices still hold events: {self._server.log[-500:]}"
                )
        self._selector.close()
        return self._report(time.perf_counter() - began)

    def _crash_when_due(self) -> None:
        if self._crashes and self._resting >= self._crashes[0][0]:
            self._crashes.pop(0)[1]()
            self._crashed += 1

    def _send_what_is_ready(self) -> None:
        while len(self._selector.get_map()) < _CONNECTIONS:
            if self._late and (self._late[0][0] <= time.monotonic() or not self._ready):
                self._send(self._late.popleft()[1], _Sent(None, 0, "delayed copy"))
            elif self._ready:
                self._send_batch(self._ready.popleft())
            else:
                return

    def _send_batch(self, device: VirtualDevice) -> None:
        if not device.pending:
            if not device.rounds_left:
                self._resting += 1
                self._on_progress(self._resting)
                return
            device.rounds_left -= 1
            device.record(self._rng.randint(1, self._events_per_round))
        elif self._rng.random() < 0.2:
            # Life goes on while a batch waits to be sent again.
            device.record(1)
        request, last = device.request(self._rng)
        fate = self._rng.choices(list(FATES), weights=list(FATES.values()))[0]
        self._fates[fate] += 1
        if fate == "request lost":
            self._ready.append(device)
            return
        if fate == "delayed copy":
            self._late.append((time.monotonic() + self._rng.uniform(0.1, 1.0), request))
        if fate == "sent twice":
            self._send(request, _Sent(None, 0, fate))
        self._send(request, _Sent(device, last, fate))

    def _send(self, request: bytes, sent: _Sent) -> None:
        try:
            exchange = Exchange(self._server.port)
            exchange.send(request)
        except OSError:
            self._failed(sent)
            # The server is down: a real device waits longer.
            time.sleep(0.01)
            return
        if sent.fate == "answer lost":
            exchange.socket.close()
            self._failed(sent, counts=False)
            return
        self._selector.register(exchange.socket, selectors.EVENT_READ, (exchange, sent))

    def _failed(self, sent: _Sent, *, counts: bool = True) -> None:
        self._broken += counts
        if sent.device is not None:
            self._ready.append(sent.device)

    def _take_answers(self) -> None:
        for key, _ in self._selector.select(timeout=0.1):
            exchange, sent = key.data
            try:
                status = exchange.take()
            except OSError:
                self._end(exchange)
                self._failed(sent)
                continue
            if status is not None:
                self._end(exchange)
                self._answered(sent, status, exchange.body)

    def _end(self, exchange: Exchange) -> None:
        self._selector.unregister(exchange.socket)
        exchange.socket.close()

    def _answered(self, sent: _Sent, status: int, body: bytes) -> None:
        self._statuses[status] += 1
        if sent.device is None:
            return
        if status == 200 and sent.fate != "crash after answer":
            receipt = msgspec.json.decode(body, type=FeedbackReceipt)
            if receipt.acknowledged != sent.last or receipt.refused:
                raise FleetError(f"a batch up to {sent.last} was answered with {receipt}")
            sent.device.acknowledge(receipt.acknowledged)
        self._ready.append(sent.device)

    def _report(self, seconds: float) -> FleetReport:
        expected = {
            event_identity(device.credentials.device_id, number)
            for device in self.devices
            for number in range(1, device.last_sequence + 1)
        }
        now_s = time.time()
        found: Counter[str] = Counter()
        changed = misdated = 0
        engine = open_database(self._server.config.database)
        with reading(engine).connect() as connection:
            query = select(Event.device_id, Event.sequence, Event.product_id, Event.timestamp_s)
            for device_id, sequence, product_id, timestamp_s in connection.execute(query):
                found[product_id] += 1
                changed += product_id != event_identity(device_id, sequence)
                misdated += not now_s - seconds - 300 <= timestamp_s <= now_s
        engine.dispose()
        return FleetReport(
            devices=len(self.devices),
            events=len(expected),
            stored=sum(found.values()),
            lost=len(expected - set(found)),
            doubled=sum(count - 1 for count in found.values()) + len(set(found) - expected),
            changed=changed,
            misdated=misdated,
            requests=sum(self._fates.values()),
            fates={str(fate): count for fate, count in self._fates.items()},
            statuses=dict(self._statuses),
            broken_connections=self._broken,
            server_crashes=self._crashed,
            seconds=seconds,
        )
