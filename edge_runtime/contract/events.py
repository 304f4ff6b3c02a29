"""Feedback events as they travel from the device to the server (version 1)."""

import math
from typing import Literal

import msgspec

from edge_runtime.contract.errors import EventRejectedError

MAX_ID_CHARS = 200
MAX_QUERY_CHARS = 2_000
MAX_PLACE = 100_000
COMPRESSED_ENCODING = "zstd"
"""The Content-Encoding of a compressed body; a server refuses one that unpacks to more than its limit."""

EventKind = Literal["impression", "click", "purchase", "dismissal"]
InterleavingTeam = Literal["a", "b"]


class FeedbackEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What happened to one product on the device.

    Attributes:
        kind: what happened.
        product_id: to which product.
        timestamp_s: seconds since 1970 by the device's clock.
        bundle_id: the bundle that ranked.
        position: place where the product was shown, from 1.
        rank: place that the ranking gave it before any logged randomization, from 1.
        propensity: probability with which the logging policy showed the product at `position`, in (0, 1].
        page_propensity: probability with which it showed the product anywhere on the page, in (0, 1].
        list_id: random name of the shown list, so that a click finds the impressions around it.
        experiment: name of the experiment that the device took part in.
        variant: its variant there.
        team: whose pick the product was in an interleaved list.
        query: what was typed; leaves the device at privacy level `full` only.
    """

    kind: EventKind
    product_id: str
    timestamp_s: float
    bundle_id: str
    position: int | None = None
    rank: int | None = None
    propensity: float | None = None
    page_propensity: float | None = None
    list_id: str | None = None
    experiment: str | None = None
    variant: str | None = None
    team: InterleavingTeam | None = None
    query: str | None = None


class SequencedEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event with the number that the device gave it: 1, 2, 3 …, never used twice by one device."""

    sequence: int
    event: FeedbackEvent


class Consent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The privacy level that was chosen on a device, and when (seconds since 1970 by its clock)."""

    level: Literal["off", "counts", "events", "full"]
    given_at_s: float


class FeedbackBatch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One request of a device: events in rising sequence. Sending a batch again is harmless.

    `sent_at_s` is the device's clock while it sends, by which the server corrects the events' times; `consent` says
    under which choice they were recorded.
    """

    version: Literal[1]
    device_id: str
    events: list[SequencedEvent]
    sent_at_s: float | None = None
    consent: Consent | None = None


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
    # Written out field by field: a server does this for every event that a fleet sends.
    if not event.product_id:
        raise EventRejectedError(f"product_id: expected 1 to {MAX_ID_CHARS} characters, got 0")
    _check_text("product_id", event.product_id)
    _check_text("bundle_id", event.bundle_id)
    if event.list_id is not None:
        _check_text("list_id", event.list_id)
    if event.experiment is not None:
        _check_text("experiment", event.experiment)
    if event.variant is not None:
        _check_text("variant", event.variant)
    if event.query is not None:
        _check_text("query", event.query, MAX_QUERY_CHARS)
    if not math.isfinite(event.timestamp_s):
        raise EventRejectedError(f"timestamp_s: expected seconds since 1970, got {event.timestamp_s}")
    if event.position is not None:
        _check_place("position", event.position)
    if event.rank is not None:
        _check_place("rank", event.rank)
    if event.propensity is not None:
        _check_probability("propensity", event.propensity)
    if event.page_propensity is not None:
        _check_probability("page_propensity", event.page_propensity)


def _check_text(name: str, text: str, limit: int = MAX_ID_CHARS) -> None:
    if len(text) > limit:
        raise EventRejectedError(f"{name}: expected at most {limit} characters, got {len(text)}")
    if "\x00" in text:
        raise EventRejectedError(f"{name}: expected text without the character NUL")


def _check_place(name: str, place: int) -> None:
    if not 1 <= place <= MAX_PLACE:
        raise EventRejectedError(f"{name}: expected 1 for the first place, {MAX_PLACE} at most, got {place}")


def _check_probability(name: str, probability: float) -> None:
    if not 0 < probability <= 1:
        raise EventRejectedError(f"{name}: expected a probability in (0, 1], got {probability}")
