"""The flow of feedback: how many events of which kind arrived when, and how late. It is read from the newest events."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, select

from sync_server.database.engine import read_session
from sync_server.database.tables.events import Event

# Enough for steady quantiles of the lag, whatever the fleet's size.
SAMPLE_EVENTS = 20_000
# Half an hour each, for the 24 hours that the console shows.
_BUCKETS = 48


@dataclass(frozen=True)
class FeedbackFlow:
    """The newest events in equal slices of time.

    Attributes:
        times_s: the end of each slice, seconds since 1970.
        per_minute: kind -> events per minute in each slice.
        events: how many events this is about, `SAMPLE_EVENTS` at most.
        newest_s: when the newest arrived, None when there are none.
        lag_p50_s: median of the time from an event, by the device's clock, to its arrival.
        lag_p95_s: 95th percentile of that time.
    """

    times_s: list[float]
    per_minute: dict[str, list[float]]
    events: int
    newest_s: float | None
    lag_p50_s: float | None
    lag_p95_s: float | None


def feedback_flow(engine: Engine, clock_s: Callable[[], float], *, hours: float = 24.0) -> FeedbackFlow:
    """Return the flow of the last `hours`; at most `SAMPLE_EVENTS` events are read.

    Raises:
        StorageError: the database cannot be read.
    """
    now = clock_s()
    query = (
        select(Event.kind, Event.received_at_s, Event.timestamp_s)
        .where(Event.received_at_s >= now - hours * 3_600.0)
        .order_by(Event.received_at_s.desc())
        .limit(SAMPLE_EVENTS)
    )
    with read_session(engine) as session:
        found = [(str(kind), float(received), float(happened)) for kind, received, happened in session.execute(query)]
    if not found:
        return FeedbackFlow([], {}, 0, None, None, None)
    start = min(found[-1][1], now - 60.0) if len(found) == SAMPLE_EVENTS else now - hours * 3_600.0
    width = max((now - start) / _BUCKETS, 1.0)
    counts: dict[str, Counter[int]] = {}
    for kind, received, _ in found:
        place = min(int((received - start) / width), _BUCKETS - 1)
        counts.setdefault(kind, Counter())[place] += 1
    lags = sorted(max(received - happened, 0.0) for _, received, happened in found)
    return FeedbackFlow(
        times_s=[start + width * (place + 1) for place in range(_BUCKETS)],
        per_minute={
            kind: [by_place[place] * 60.0 / width for place in range(_BUCKETS)]
            for kind, by_place in sorted(counts.items(), key=lambda pair: -pair[1].total())
        },
        events=len(found),
        newest_s=found[0][1],
        lag_p50_s=_quantile(lags, 0.5),
        lag_p95_s=_quantile(lags, 0.95),
    )


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(max(math.ceil(share * len(ordered)) - 1, 0), len(ordered) - 1)]
