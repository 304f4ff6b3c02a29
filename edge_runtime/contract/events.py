"""Feedback events as they travel from the device to the server (version 1)."""

import math
from typing import Literal

import msgspec

from edge_runtime.contract.errors import EventRejectedError

MAX_ID_CHARS = 200
MAX_QUERY_CHARS = 2_000

EventKind = Literal["impression", "click", "purchase", "dismissal"]


class FeedbackEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What happened to one product on the device.

    `position` counts from 1. `propensity` is the probability with which the logging policy showed the product there,
    in (0, 1]. `query` leaves the device at privacy level `full` only.
    """

    kind: EventKind
    product_id: str
    timestamp_s: float
    bundle_id: str
    position: int | None = None
    propensity: float | None = None
    query: str | None = None


class SequencedEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event with the number that the device gave it: 1, 2, 3 …, never used twice by one device."""

    sequence: int
    event: FeedbackEvent


class FeedbackBatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One request of a device: events in rising sequence. Sending a batch again is harmless."""

    version: Literal[1]
    device_id: str
    events: list[SequencedEvent]


class FeedbackReceipt(msgspec.Struct, frozen=True):
    """The server's answer: every event up to `acknowledged` (a sequence) of this batch is stored durably or refused.

    `stored` counts the new ones of this request, `duplicates` those it already had, `refused` says why others never
    will be stored.
    """

    acknowledged: int
    stored: int
    duplicates: int
    refused: list[str]


def check_event(event: FeedbackEvent) -> None:
    """Refuse an event that cannot mean anything.

    Raises:
        EventRejectedError: names the field and what was expected.
    """
    if not event.product_id or len(event.product_id) > MAX_ID_CHARS:
        raise EventRejectedError(f"product_id: expected 1 to {MAX_ID_CHARS} characters, got {len(event.product_id)}")
    if len(event.bundle_id) > MAX_ID_CHARS:
        raise EventRejectedError(f"bundle_id: expected at most {MAX_ID_CHARS} characters, got {len(event.bundle_id)}")
    if not math.isfinite(event.timestamp_s):
        raise EventRejectedError(f"timestamp_s: expected seconds since 1970, got {event.timestamp_s}")
    if event.position is not None and event.position < 1:
        raise EventRejectedError(f"position: expected 1 for the first place, got {event.position}")
    if event.propensity is not None and not 0 < event.propensity <= 1:
        raise EventRejectedError(f"propensity: expected a probability in (0, 1], got {event.propensity}")
    if event.query is not None and len(event.query) > MAX_QUERY_CHARS:
        raise EventRejectedError(f"query: expected at most {MAX_QUERY_CHARS} characters, got {len(event.query)}")
