"""Devices and what they report: enrollment codes, credentials, events; no HTTP in here."""

import hashlib
import itertools
import math
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
from sqlalchemy import Engine, bindparam, func, select
from sqlalchemy.orm import Session

from edge_runtime.contract.atomic_files import disk_errors_named
from edge_runtime.contract.errors import ConfigError, EventRejectedError
from edge_runtime.contract.events import FeedbackBatch, FeedbackEvent, FeedbackReceipt, check_event
from sync_server.database.engine import database_errors_named, reading
from sync_server.database.tables.devices import Device, EnrolmentCode, Event
from sync_server.errors import RequestError
from sync_server.events.event_writer import DeviceEvents, EventRow, EventWriter, Heard

MAX_SEQUENCE = 2**62
_EXPORT_ROWS = 10_000
_DAY_S = 86_400.0
_TOLERATED_SKEW_S = 120.0
# Some 200 bytes each; a larger fleet asks the database more often.
_MAX_SENDERS = 50_000
_TIMESTAMP = FeedbackEvent.__struct_fields__.index("timestamp_s")
# Made once: building a statement costs more than running it.
_DEVICE_OF_CREDENTIAL = select(Device.device_id).where(
    Device.credential_sha256 == bindparam("digest"), Device.revoked_at_s.is_(None)
)


def digest_of(secret: str) -> str:
    """Return the SHA-256 under which a code, a credential or a token is kept; they are random, so it needs no salt."""
    return hashlib.sha256(secret.encode()).hexdigest()


@dataclass(frozen=True)
class Fleet:
    """The devices and their events in one database.

    Args:
        engine: the database (database.py).
        clock_s: gives seconds since 1970.
    """

    engine: Engine
    clock_s: Callable[[], float]
    _writer: EventWriter = field(init=False)
    _senders: dict[str, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Open the writer of events."""
        object.__setattr__(self, "_writer", EventWriter(self.engine))

    def new_code(self, *, valid_days: int) -> str:
        """Make a one-time enrollment code and return it; only its digest is kept.

        Raises:
            StorageError: the database cannot be written.
        """
        code = secrets.token_urlsafe(16)
        now = self.clock_s()
        with database_errors_named(), Session(self.engine) as session, session.begin():
            session.add(
                EnrolmentCode(code_sha256=digest_of(code), created_at_s=now, expires_at_s=now + valid_days * _DAY_S)
            )
        return code

    def enroll(self, code: str, credential: str) -> str:
        """Exchange a code for a device id. The same code with the same credential gives the same id again.

        Raises:
            RequestError: the code is unknown, has expired, or was used by another device.
            StorageError: the database cannot be written.
        """
        if len(credential) < 32:
            raise RequestError("the credential is too short; update the device's runtime", status_code=400)
        with database_errors_named(), Session(self.engine) as session, session.begin():
            known = session.get(EnrolmentCode, digest_of(code))
            device = session.scalar(select(Device).where(Device.credential_sha256 == digest_of(credential)))
            if known is None or (known.device_id is None and known.expires_at_s < self.clock_s()):
                raise RequestError("the enrollment code is unknown or has expired; ask for a new one", status_code=403)
            if device is not None and device.revoked_at_s is not None:
                raise RequestError("this device was revoked; enroll it in a new home", status_code=403)
            if known.device_id is not None:
                if device is None or device.device_id != known.device_id:
                    raise RequestError("the enrollment code was used already; ask for a new one", status_code=403)
                return known.device_id
            if device is None:
                device = Device(
                    device_id=f"device-{secrets.token_hex(8)}",
                    credential_sha256=digest_of(credential),
                    enrolled_at_s=self.clock_s(),
                )
                session.add(device)
                session.flush()
            known.device_id = device.device_id
            return device.device_id

    def device_of(self, credential: str) -> str | None:
        """Return the device that holds this credential; None when there is none or it was revoked."""
        with database_errors_named(), reading(self.engine).connect() as connection:
            return connection.scalar(_DEVICE_OF_CREDENTIAL, {"digest": digest_of(credential)})

    def sender_of(self, credential: str) -> str | None:
        """Return the device that holds this credential, by memory when it was here before; None when there is none.

        It may have been revoked since: only for what ends in `store`, which looks at that while it holds the device.
        """
        digest = digest_of(credential)
        device_id = self._senders.get(digest)
        if device_id is None and (device_id := self.device_of(credential)) is not None:
            if len(self._senders) >= _MAX_SENDERS:
                self._senders.clear()
            self._senders[digest] = device_id
        return device_id

    def store(self, batch: FeedbackBatch) -> FeedbackReceipt:
        """Store a batch in one transaction; events that are here already are counted, not stored again.

        Args:
            batch: events of an enrolled device, whose identity the caller has checked.

        Raises:
            RequestError: no events, numbers that do not rise, or a device that was revoked.
            StorageError: the database cannot be written; nothing of the batch is stored.
        """
        numbers = [item.sequence for item in batch.events]
        rising = all(left < right for left, right in itertools.pairwise(numbers))
        if not numbers or not rising or not 0 < numbers[0] <= numbers[-1] <= MAX_SEQUENCE:
            raise RequestError(
                "expected events with rising sequence numbers from 1; nothing was stored", status_code=400
            )
        refused: list[str] = []
        now_s = self.clock_s()
        rows = list(_rows(batch, refused, now_s))
        heard = Heard(now_s, batch.events[-1].event.bundle_id[:64].replace("\0", ""))
        if batch.consent is not None:
            heard = replace(heard, privacy_level=batch.consent.level, consented_at_s=batch.consent.given_at_s)
        stored = self._writer.store(DeviceEvents(batch.device_id, rows, heard))
        return FeedbackReceipt(acknowledged=numbers[-1], stored=stored, duplicates=len(rows) - stored, refused=refused)

    def check(self) -> None:
        """Ask the database for the smallest thing.

        Raises:
            StorageError: it does not answer, or lacks the tables.
        """
        with database_errors_named(), Session(reading(self.engine)) as session:
            session.scalar(select(Device.device_id).limit(1))

    def count_events(self) -> int:
        """Return how many events are stored."""
        with database_errors_named(), Session(reading(self.engine)) as session:
            return session.scalar(select(func.count()).select_from(Event)) or 0

    def export_events(self, path: Path) -> int:
        """Write every event to `path` as JSON lines, oldest first; return how many.

        Stopped halfway, `path` holds its old content.

        Raises:
            ConfigError: the folder does not exist.
            StorageError: the disk is full, read-only or not permitted.
        """
        if not path.parent.is_dir():
            raise ConfigError(f"cannot write {path}: {path.parent} is not a folder; make it first")
        temporary = path.with_name(f".{path.name}.new")
        written, last = 0, 0
        with disk_errors_named(path), temporary.open("wb") as file:
            while page := self._page_after(last):
                for event in page:
                    file.write(msgspec.json.encode(_exported(event)) + b"\n")
                last, written = page[-1].id, written + len(page)
        with disk_errors_named(path):
            temporary.replace(path)
        return written

    def _page_after(self, last: int) -> list[Event]:
        with database_errors_named(), Session(reading(self.engine)) as session:
            query = select(Event).where(Event.id > last).order_by(Event.id).limit(_EXPORT_ROWS)
            return list(session.scalars(query))


def _rows(batch: FeedbackBatch, refused: list[str], now_s: float) -> Iterator[EventRow]:
    skew_s = clock_skew_s(batch.sent_at_s, now_s)
    for item in batch.events:
        try:
            check_event(item.event)
        except EventRejectedError as error:
            refused.append(f"event {item.sequence}: {error}")
            continue
        values = msgspec.structs.astuple(item.event)
        # What a device says of its own future cannot be true.
        timestamp_s = min(item.event.timestamp_s + skew_s, now_s)
        if timestamp_s != item.event.timestamp_s:
            values = (*values[:_TIMESTAMP], timestamp_s, *values[_TIMESTAMP + 1 :])
        yield (batch.device_id, item.sequence, now_s, *values)


def clock_skew_s(sent_at_s: float | None, now_s: float) -> float:
    """Return what to add to a device's times: how far its clock was off while it sent, 0 for less than two minutes."""
    if sent_at_s is None or not math.isfinite(sent_at_s) or abs(now_s - sent_at_s) < _TOLERATED_SKEW_S:
        return 0.0
    return now_s - sent_at_s


def _exported(event: Event) -> dict[str, object]:
    names = [column.name for column in Event.__table__.columns if column.name != "id"]
    return {name: value for name in names if (value := getattr(event, name)) is not None}
