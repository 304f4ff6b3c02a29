"""The formats of times and numbers on the pages."""

import math
from datetime import UTC, datetime

from flask import Flask

from sync_server.console.charts import short_number


def moment(seconds: float | None) -> str:
    """Return seconds since 1970 as date and time in UTC, a dash for None."""
    return "–" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def duration(seconds: float | None) -> str:
    """Return a length of time as people say it: 4 s, 12 min, 3 h, 9 days."""
    if seconds is None:
        return "–"
    for unit, size in (("days", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:,.1f} s" if abs(seconds) < 10 else f"{seconds:,.0f} s"


def percent(share: float | None) -> str:
    """Return a share as a percentage; infinity is ∞."""
    if share is None:
        return "–"
    if math.isinf(share):
        return "∞" if share > 0 else "−∞"
    return f"{share:.2%}".replace("-", "−")


def add_filters(app: Flask) -> None:
    """Add these functions to the templates of an application."""
    app.jinja_env.filters.update(moment=moment, duration=duration, short_number=short_number, percent=percent)
