"""Feedback events as they travel from the device to the server (version 1), and what each kind of event means.

A newer client may know kinds and fields that this version does not. Unknown fields are ignored. Events
of an unknown kind are stored by a server and set aside by a device; they never block the others.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from edge_runtime.contract.errors import EventRejectedError

MAX_ID_CHARS = 200
"""Ids of shops have some ten characters; a UUID or a URL's path fits as well."""
MAX_QUERY_CHARS = 2_000
"""What a model reads of a text at most (text.py: `MAX_TEXT_CHARS`)."""
MAX_PLACE = 100_000
"""Nobody scrolls so far; a larger number is a mistake that would spoil every mean."""
COMPRESSED_ENCODING = "zstd"
"""The Content-Encoding of a compressed body; a server refuses one that unpacks to more than its limit."""


@dataclass(frozen=True)
class KindTraits:
    """What one kind of event means.

    Attributes:
        in_list: it happens to a product of a shown list, whose places it carries.
        has_query: it may carry what was typed; from other kinds the text is removed.
        is_counted: a device at privacy level `counts` counts it (contract/counts.py).
        taste: how much it says of the user's own taste, 0 for nothing.
        is_success: a guardrail and an experiment count it as what a list is for.
        is_wanted: retraining takes it as a sign that the product was wanted.
    """

    in_list: bool = True
    has_query: bool = True
    is_counted: bool = False
    taste: float = 0.0
    is_success: bool = False
    is_wanted: bool = False


IMPRESSION = "impression"

EVENT_KINDS: Mapping[str, KindTraits] = {
    IMPRESSION: KindTraits(),
    "view": KindTraits(in_list=False, has_query=False, taste=0.25),
    "click": KindTraits(is_counted=True, taste=0.5, is_success=True, is_wanted=True),
    "cart": KindTraits(taste=0.75),
    "purchase": KindTraits(is_counted=True, taste=1.0, is_wanted=True),
    "dismissal": KindTraits(is_counted=True),
}
"""Every kind there is: a device records these, a browser too (`contract/events.ts`), and a server knows what they mean.

`view` is a look at the product's own page, wherever the user came from. The taste's weights are set by hand: a purchase
says most, each weaker sign a quarter less.
"""

SUCCESS_KINDS = tuple(kind for kind, traits in EVENT_KINDS.items() if traits.is_success)
WANTED_KINDS = frozenset(kind for kind, traits in EVENT_KINDS.items() if traits.is_wanted)

# A kind names a folder of the export and a line of the console, so one that is not known is a plain word at least.
_KIND = re.compile(r"[a-z][a-z0-9_]{0,39}")

InterleavingTeam = Literal["a", "b"]


class FeedbackEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What happened to one product on the device.

    Attributes:
        kind: what happened, one of `EVENT_KINDS` or a word of a newer client.
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

    kind: str
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


class SequencedEvent(msgspec.Struct, frozen=True):
    """An event with the number that the device gave it: 1, 2, 3 …, never used twice by one device."""

    sequence: int
    event: FeedbackEvent


class Consent(msgspec.Struct, frozen=True):
    """The privacy level that was chosen on a device, and when (seconds since 1970 by its clock)."""

    level: Literal["off", "counts", "events", "full"]
    given_at_s: float


class FeedbackBatch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
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
    """Refuse an event that cannot mean anything; one of a newer client's kind may.

    Raises:
        EventRejectedError: names the field and what was expected.
    """
    # Written out field by field: a server does this for every event that a fleet sends.
    if event.kind not in EVENT_KINDS and not _KIND.fullmatch(event.kind):
        raise EventRejectedError(
            f"kind: expected a word of a-z, 0-9 and _, 40 characters at most, got {event.kind[:60]!r}"
        )
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


def check_known_kind(kind: str) -> None:
    """Refuse a kind that this version does not know: nothing says what of it may leave the device.

    Raises:
        EventRejectedError: names the known ones.
    """
    if kind not in EVENT_KINDS:
        raise EventRejectedError(
            f"kind: expected one of {', '.join(EVENT_KINDS)}, got {kind[:60]!r}; update this runtime if a newer one has it"
        )


def is_name(text: str) -> bool:
    """Tell whether `text` may name a rollout, an experiment or a variant: 1 to `MAX_ID_CHARS` printable characters."""
    return 0 < len(text) <= MAX_ID_CHARS and text.isprintable()


def _check_text(name: str, text: str, limit: int = MAX_ID_CHARS) -> None:
    if len(text) > limit:
        raise EventRejectedError(f"{name}: expected at most {limit} characters, got {len(text)}")
    if "\x00" in text:
        raise EventRejectedError(f"{name}: expected text without the character NUL")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise EventRejectedError(f"{name}: expected text, got bytes that are not UTF-8") from error


def _check_place(name: str, place: int) -> None:
    if not 1 <= place <= MAX_PLACE:
        raise EventRejectedError(f"{name}: expected 1 for the first place, {MAX_PLACE} at most, got {place}")


def _check_probability(name: str, probability: float) -> None:
    if not 0 < probability <= 1:
        raise EventRejectedError(f"{name}: expected a probability in (0, 1], got {probability}")


class ErasureReceipt(msgspec.Struct, frozen=True):
    """What the server erased of a device: `events` and `count_reports`. What was sent before never comes back."""

    events: int
    count_reports: int
