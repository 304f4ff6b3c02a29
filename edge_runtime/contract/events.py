"""Feedback events as they travel from the device to the server (version 1)."""

from typing import Literal

import msgspec

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
