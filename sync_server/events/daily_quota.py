"""How much one device may send in a day (UTC), however well its bodies are packed and however its requests are spread.

Limits of requests bound the load of a minute, not the disk: equal texts pack a thousand times smaller than they are stored.
A limit of that ratio would not do: 500 impressions of 50 ordinary lists pack 23 times smaller already (zstd, level 3), and a
long query that is paged through packs far more. A device whose batch were refused for good would never send again.
The usage stands in the device's row, which every batch locks and writes anyway.
"""

from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy.orm import Session

from sync_server.database.tables.devices import Device
from sync_server.errors import RequestError

_DAY_S = 86_400.0
# Updates of a device wait for its Retry-After too, so it is never sent away for longer.
_LONGEST_RETRY_AFTER_S = 3_600.0


class Usage(NamedTuple):
    """What a device has sent on a day since 1970; the order is that of the columns in the device's row."""

    quota_day: int = 0
    quota_bytes: int = 0
    quota_events: int = 0

    def plus(self, *, at_s: float, size_bytes: int, events: int) -> "Usage":
        """Return the usage after a request at `at_s` seconds since 1970; a new day begins with nothing."""
        day = int(at_s // _DAY_S)
        before = self if self.quota_day == day else Usage(day)
        return Usage(day, before.quota_bytes + size_bytes, before.quota_events + events)


@dataclass(frozen=True)
class DailyQuota:
    """The most that one device may send in a day: bytes of unpacked bodies, and events or reports.

    A device holds 10,000 events at most. 20,000 are a full queue of a device that comes back, and as many again for
    the day. An event has some 200 to 300 bytes; with 1,000 for each there is room for long queries at level `full`.
    """

    max_bytes: int = 20_000_000
    max_events: int = 20_000

    def allows(self, usage: Usage) -> bool:
        """Return whether a device may have sent so much."""
        return usage.quota_bytes <= self.max_bytes and usage.quota_events <= self.max_events

    def charge(self, session: Session, device_id: str, *, at_s: float, size_bytes: int, events: int) -> None:
        """Add a request to the usage of a device, when it is enrolled.

        Raises:
            RequestError: the device would be over its quota (status 429).
        """
        row = session.get(Device, device_id, with_for_update={"key_share": True})
        if row is None:
            return
        before = Usage(row.quota_day, row.quota_bytes, row.quota_events)
        usage = before.plus(at_s=at_s, size_bytes=size_bytes, events=events)
        if not self.allows(usage):
            raise over_quota(at_s)
        row.quota_day, row.quota_bytes, row.quota_events = usage


def over_quota(at_s: float) -> RequestError:
    """Return the error for a device that has sent its share of the day."""
    return RequestError(
        "this device has sent as much as it may in a day; nothing was stored, send it again tomorrow",
        status_code=429,
        retry_after_s=round(min(_DAY_S - at_s % _DAY_S, _LONGEST_RETRY_AFTER_S)) or 1,
    )
