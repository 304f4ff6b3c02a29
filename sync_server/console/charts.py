"""Charts as numbers that a template draws as SVG, without a script or an image file."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sync_server.statistics.confidence_sequences import EstimateAt

# In units of the SVG, which scales to the width of the page; the left margin has room for a number like 12,400.
WIDTH, HEIGHT = 720, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 14, 14, 30
# As many as the style sheet has classes c0 to c7.
_COLORS = 8


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: its position and its text."""

    at: float
    text: str


@dataclass(frozen=True)
class Layer:
    """One series as an SVG path; `color` numbers a class of the style sheet."""

    name: str
    color: int
    path: str
    newest: str


@dataclass(frozen=True)
class Chart:
    """A chart ready to be drawn; `bands` lie under `lines`."""

    title: str
    bands: list[Layer]
    lines: list[Layer]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    bottom: int = HEIGHT - _BOTTOM
    top: int = _TOP


def stacked(title: str, times_s: Sequence[float], series: Sequence[tuple[str, Sequence[float]]]) -> Chart | None:
    """Return series on top of one another over time; None when there is nothing to show.

    Args:
        title: description for screen readers.
        times_s: rising, seconds since 1970.
        series: names with as many values as there are times.
    """
    if len(times_s) < 2 or not series:
        return None
    totals = [sum(values[place] for _, values in series) for place in range(len(times_s))]
    top = _round_up(max(totals))
    x = _scale(times_s[0], times_s[-1], _LEFT, WIDTH - _RIGHT)
    y = _scale(0.0, top, HEIGHT - _BOTTOM, _TOP)
    below = [0.0] * len(times_s)
    bands = []
    for number, (name, values) in enumerate(series):
        above = [low + value for low, value in zip(below, values, strict=True)]
        upper = [(x(at), y(value)) for at, value in zip(times_s, above, strict=True)]
        lower = [(x(at), y(value)) for at, value in zip(times_s, below, strict=True)]
        path = f"{_line(upper)}L{_points(lower[::-1])}Z"
        bands.append(Layer(name, number % _COLORS, path, short_number(values[-1])))
        below = above
    marks = _value_ticks(0.0, top, y, parts=_whole_parts(top))
    return Chart(title, bands, [], _time_ticks(times_s[0], times_s[-1], x), marks)


def with_intervals(
    title: str, series: Sequence[tuple[str, Sequence[EstimateAt]]], *, limit: float | None = None, percent: bool = False
) -> Chart | None:
    """Return estimates over time, each line in the band of its interval; None when there is nothing to show.

    Args:
        title: description for screen readers.
        series: names with estimates, oldest first; infinite bounds reach to the edge.
        limit: a level that stops a rollout, drawn as a line of its own.
        percent: show values as percentages.
    """
    points = [point for _, values in series for point in values]
    if not points:
        return None
    first, last = min(point.at_s for point in points), max(point.at_s for point in points)
    heights = [
        value for point in points for value in (point.lower, point.estimate, point.upper) if math.isfinite(value)
    ]
    heights += [limit] if limit is not None else []
    low, high = min([0.0, *heights]), max([0.0, *heights])
    high = _round_up(high) if high > 0 else 0.0
    low = -_round_up(-low) if low < 0 else 0.0
    if high == low:
        high = low + 1.0
    x = _scale(first, max(last, first + 1.0), _LEFT, WIDTH - _RIGHT)
    y = _scale(low, high, HEIGHT - _BOTTOM, _TOP)
    bands, lines = [], []
    for number, (name, values) in enumerate(series):
        upper = [(x(point.at_s), y(_within(point.upper, low, high))) for point in values]
        lower = [(x(point.at_s), y(_within(point.lower, low, high))) for point in values]
        middle = [(x(point.at_s), y(_within(point.estimate, low, high))) for point in values]
        color = number % _COLORS
        bands.append(Layer(name, color, f"{_line(upper)}L{_points(lower[::-1])}Z", ""))
        newest = f"{values[-1].estimate:.2%}" if percent else short_number(values[-1].estimate)
        lines.append(Layer(name, color, _line(middle), newest))
    if limit is not None:
        edge = [(float(_LEFT), y(limit)), (float(WIDTH - _RIGHT), y(limit))]
        lines.append(Layer("limit", _COLORS, _line(edge), f"{limit:.2%}" if percent else short_number(limit)))
    return Chart(
        title, bands, lines, _time_ticks(first, max(last, first + 1.0), x), _value_ticks(low, high, y, percent=percent)
    )


def short_number(value: float) -> str:
    """Return a number as people read it: 12,400 or 1.2 M or 0.031."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:,.1f} M"
    if abs(value) >= 10 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def _scale(low: float, high: float, start: float, end: float) -> _Scale:
    return _Scale(low, high if high > low else low + 1.0, start, end)


def _within(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _points(points: Sequence[tuple[float, float]]) -> str:
    return "L".join(f"{x:g},{y:g}" for x, y in points)


def _line(points: Sequence[tuple[float, float]]) -> str:
    return f"M{_points(points)}"


def _round_up(value: float) -> float:
    if value <= 0:
        return 1.0
    step = 10.0 ** math.floor(math.log10(value))
    return next(factor * step for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if value <= factor * step * (1 + 1e-9))


def _whole_parts(top: float) -> int:
    """Return into how many parts an axis of counts is divided, so that no mark stands at a part of a device."""
    return next((parts for parts in (4, 5) if top % parts == 0), int(top) if 1 <= top < 4 else 4)


def _value_ticks(low: float, high: float, y: _Scale, *, percent: bool = False, parts: int = 4) -> list[Tick]:
    values = [low + (high - low) * part / parts for part in range(parts + 1)]
    return [Tick(y(value), f"{value * 100:.3g}%" if percent else short_number(value)) for value in values]


def _time_ticks(first: float, last: float, x: _Scale) -> list[Tick]:
    pattern = "%H:%M" if last - first < 36 * 3_600 else "%d %b"
    times = [first + (last - first) * part / 4 for part in range(5)]
    return [Tick(x(at), datetime.fromtimestamp(at, UTC).strftime(pattern)) for at in times]
