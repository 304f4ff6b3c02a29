"""Positions of the marks in the report's charts: numbers only; the template draws them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Units of the SVG; the margins hold the labels of the axes.
WIDTH, HEIGHT = 360.0, 230.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 14.0, 12.0, 40.0


@dataclass(frozen=True)
class Tick:
    """A mark of an axis: where, and what it says."""

    at: float
    label: str


@dataclass(frozen=True)
class Mark:
    """One point of a picture.

    Attributes:
        x: in the picture's units.
        y: the same.
        low: y of the lower end of the interval.
        high: y of the upper end.
        kind: "built", "front", "other" or "short".
        label: what a person calls it.
    """

    x: float
    y: float
    low: float
    high: float
    kind: str
    label: str


@dataclass(frozen=True)
class Picture:
    """A scatter plot: marks, both axes' ticks, and the line through the front."""

    marks: tuple[Mark, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    line: str
    y_title: str


@dataclass(frozen=True)
class Scale:
    """Maps values between `low` and `high` to positions between `start` and `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the position of `value`, kept inside."""
        share = (value - self.low) / max(self.high - self.low, 1e-12)
        return round(self.start + (self.end - self.start) * min(max(share, 0.0), 1.0), 2)


def quality_scale(rows: Sequence[Mapping[str, Any]]) -> Scale:
    """Return the scale of the quality chart, in percent of its width: from a tenth below the lowest interval's end."""
    ends = [end for row in rows for name in ("rerank", "retrieval") for end in row[f"{name}_ci95"]]
    low = math.floor(min(ends, default=0.0) * 10 - 1e-9) / 10
    high = math.ceil(max(ends, default=1.0) * 10 + 1e-9) / 10
    return Scale(max(0.0, low), min(1.0, max(high, low + 0.1)), 0.0, 100.0)


def tenths(scale: Scale) -> list[Tick]:
    """Return a tick for each tenth of a quality scale."""
    first, last = round(scale.low * 10), round(scale.high * 10)
    return [Tick(scale(number / 10), f"{number / 10:.1f}") for number in range(first, last + 1)]


def pareto_picture(content: Mapping[str, Any]) -> Picture | None:
    """Return the picture of size against quality: the budget search's points, or the variants of the one student.

    None when the quality is unknown.
    """
    if content.get("budget"):
        return _picture(_searched(content["budget"]), "retention")
    converted = content["stages"].get("convert", {})
    points = [
        (
            one["bytes"],
            one["quality"]["rerank_ndcg10"],
            one["quality"]["rerank_ci95"],
            "built" if one["name"] == converted["shipped"] else "other",
            one["name"],
        )
        for one in converted.get("variants", ())
        if one["quality"]
    ]
    return _picture(points, "re-rank nDCG@10") if points else None


_Point = tuple[float, float, Sequence[float], str, str]


def _searched(budget: Mapping[str, Any]) -> list[_Point]:
    def kind(number: int, point: Mapping[str, Any]) -> str:
        if number == budget["chosen"]:
            return "built"
        if not point["complete"]:
            return "short"
        return "front" if number in budget["front"] else "other"

    return [
        (point["bytes"], point["retention"], point["retention_ci95"], kind(number, point), point["name"])
        for number, point in enumerate(budget["points"])
    ]


def _picture(points: Sequence[_Point], y_title: str) -> Picture:
    sizes = [point[0] for point in points]
    low, high = min(sizes) / 1.15, max(sizes) * 1.15
    x = Scale(math.log(low), math.log(high), LEFT, WIDTH - RIGHT)
    values = [value for point in points for value in (point[1], *point[2])]
    step = _step(max(values) - min(values))
    bottom, top = math.floor(min(values) / step) * step, math.ceil(max(values) / step) * step
    y = Scale(bottom, max(top, bottom + step), HEIGHT - BOTTOM, TOP)
    # The built one is drawn last, so that nothing hides it.
    order = sorted(points, key=lambda point: ("short", "other", "front", "built").index(point[3]))
    marks = tuple(
        Mark(x(math.log(size)), y(value), y(ends[0]), y(ends[1]), kind, label)
        for size, value, ends, kind, label in order
    )
    front = sorted((mark for mark in marks if mark.kind in ("front", "built")), key=lambda mark: mark.x)
    count = round((y.high - bottom) / step)
    return Picture(
        marks=marks,
        x_ticks=tuple(Tick(x(math.log(size)), _size(size)) for size in _round_sizes(low, high)),
        y_ticks=tuple(Tick(y(bottom + step * n), f"{bottom + step * n:.2f}") for n in range(count + 1)),
        line=" ".join(f"{mark.x},{mark.y}" for mark in front) if len(front) > 1 else "",
        y_title=y_title,
    )


def _step(span: float) -> float:
    """Return a round step that cuts `span` into at most six parts."""
    return next((step for step in (0.01, 0.02, 0.05, 0.1, 0.2) if span / step <= 6), 0.5)


def _round_sizes(low: float, high: float) -> list[float]:
    """Return the round sizes between `low` and `high` bytes: at least two, at most six."""
    decades = range(int(math.log10(low)), int(math.log10(high)) + 1)
    for steps in ((1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 6, 8)):
        found = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10**decade <= high]
        if 2 <= len(found) <= 6:
            return found
    return [low, math.sqrt(low * high), high]


def _size(size: float) -> str:
    return f"{size / 1e6:.3g} MB" if size >= 1e6 else f"{size / 1e3:.3g} kB"
