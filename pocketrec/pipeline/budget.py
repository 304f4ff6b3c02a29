"""Budgets of a build: what a student may cost, which points are worth having, and which one is built.

A point is one student under one recipe. `retention` is the share of the teacher's ranking quality above chance that it
keeps (compress/measure/retention.py).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from compress.errors import QualityGateError

_UNITS = {"": 1, "b": 1, "kb": 1_000, "mb": 1_000_000, "kib": 1_024, "mib": 1_048_576}
_SIZE = re.compile(r"\s*([0-9][0-9_]*(?:\.[0-9]+)?)\s*([a-z]*)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class BudgetSettings:
    """Limits of the student, and how far the search for it goes. Without a limit nothing is searched.

    Attributes:
        max_bytes: of `encoder.tflite` and `tokenizer.json` together: the model that a device downloads.
        max_latency_ms: p50 of encoding a query in the interpreter, one thread, on the build machine.
        min_retention: share of the teacher's ranking quality above chance, 0 … 1.
        trials: so many shapes are trained, for a short while.
        finalists: so many of them are trained to the end.
        first_share: share of `distill.steps` that the short training takes.
        vocabularies: word pieces to choose from.
        widths: hidden widths to choose from.
        depths: numbers of layers to choose from.
    """

    max_bytes: int | None = None
    max_latency_ms: float | None = None
    min_retention: float | None = None
    trials: int = 8
    finalists: int = 2
    first_share: float = 0.2
    vocabularies: tuple[int, ...] = (1_000, 2_000, 4_000, 8_000, 12_000)
    widths: tuple[int, ...] = (32, 64, 96, 128, 192)
    depths: tuple[int, ...] = (1, 2, 3)

    def __post_init__(self) -> None:
        """Refuse limits that nothing can hold, and a search of nothing."""
        for name in ("max_bytes", "max_latency_ms"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} is {value}, expected more than 0")
        if self.min_retention is not None and not 0.0 < self.min_retention <= 1.0:
            raise ValueError(f"min_retention is {self.min_retention}, expected a share above 0, at most 1")
        if not 1 <= self.finalists <= self.trials:
            raise ValueError(f"finalists is {self.finalists}, expected 1 to trials ({self.trials})")
        if not 0.0 < self.first_share <= 1.0:
            raise ValueError(f"first_share is {self.first_share}, expected a share above 0, at most 1")
        for name in ("vocabularies", "widths", "depths"):
            values = getattr(self, name)
            if not values or min(values) < 1:
                raise ValueError(f"{name} is {list(values)}, expected at least one number, each 1 or more")

    @property
    def asked(self) -> bool:
        """Whether there is any limit."""
        return any(limit is not None for limit in (self.max_bytes, self.max_latency_ms, self.min_retention))


@dataclass(frozen=True)
class Point:
    """One student under one recipe.

    Attributes:
        architecture: "bag", "mixer" or "bert".
        vocabulary: word pieces.
        hidden: width.
        layers: depth; a bag has none and says 0.
        pruning: "none", or like "50%".
        variant: see compress/variants.py; "float" while it was trained for a short time only.
        steps: of distillation.
        complete: trained to the end, so that its figures are those of the bundle.
        bytes: of model and tokenizer; predicted unless `complete`.
        compressed_bytes: of both, after zlib; None unless `complete`.
        latency_ms: p50 of encoding a query; None where nothing was measured.
        rerank_ndcg10: on the judged queries.
        retrieval_ndcg10: on the judged queries.
        retention: see the module's docstring.
        retention_ci95: 95% bootstrap interval over the queries.
    """

    architecture: str
    vocabulary: int
    hidden: int
    layers: int
    pruning: str
    variant: str
    steps: int
    complete: bool
    bytes: int
    compressed_bytes: int | None
    latency_ms: float | None
    rerank_ndcg10: float
    retrieval_ndcg10: float
    retention: float
    retention_ci95: tuple[float, float]

    @property
    def name(self) -> str:
        """What a person calls it."""
        depth = f" × {self.layers}" if self.layers else ""
        pruning = "" if self.pruning == "none" else f", pruned {self.pruning}"
        return f"{self.architecture} {self.hidden}{depth}, {self.vocabulary:,} pieces{pruning}, {self.variant}"


def parse_bytes(text: str) -> int:
    """Return the bytes that "1500000", "1.5MB", "900 kB" or "1MiB" name.

    Raises:
        ValueError: another unit, or no number.
    """
    match = _SIZE.fullmatch(text)
    unit = _UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise ValueError(f"{text!r} is no size; expected a number of bytes, or one with kB, MB, KiB or MiB")
    return round(float(match[1].replace("_", "")) * unit)


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other one beats: not larger, not slower, not worse, and better in one of the three.

    Only complete points count, smallest first; of equals, the first stays.
    """
    complete = [point for point in points if point.complete]
    front: list[Point] = []
    for number, point in enumerate(complete):
        costs = _costs(point)
        beaten = any(
            all(a <= b for a, b in zip(_costs(other), costs, strict=True)) and (_costs(other) != costs or at < number)
            for at, other in enumerate(complete)
            if other is not point
        )
        if not beaten:
            front.append(point)
    return sorted(front, key=_costs)


def violations(point: Point, limits: BudgetSettings) -> dict[str, float]:
    """Return which limits `point` breaks, each by which share of the limit; empty when it holds all."""
    found = {}
    if limits.max_bytes is not None and point.bytes > limits.max_bytes:
        found["max_bytes"] = point.bytes / limits.max_bytes - 1.0
    if limits.max_latency_ms is not None and (point.latency_ms or 0.0) > limits.max_latency_ms:
        found["max_latency_ms"] = (point.latency_ms or 0.0) / limits.max_latency_ms - 1.0
    if limits.min_retention is not None and point.retention < limits.min_retention:
        found["min_retention"] = 1.0 - point.retention / limits.min_retention
    return found


def choose(points: Sequence[Point], limits: BudgetSettings, noise: Callable[[int, int], float]) -> int:
    """Return the position of the point to build.

    With `min_retention` it is the smallest that holds all limits. Without, it is the best that holds them, or rather
    the smallest of those that are behind the best by no more than one standard error of the paired difference (the
    one-standard-error rule of Breiman et al., "Classification and Regression Trees", 1984): a lead within the noise
    is not worth bytes.

    Args:
        points: complete ones.
        limits: what was asked.
        noise: (position of a point, of the best one that holds the limits) -> the standard error of the difference of
            their retentions.

    Raises:
        QualityGateError: no point holds the limits; the text names the nearest one.
    """
    fitting = [at for at, point in enumerate(points) if not violations(point, limits)]
    if not fitting:
        raise QualityGateError(impossible(points, limits))
    if limits.min_retention is None:
        best = max(fitting, key=lambda at: points[at].retention)
        fitting = [at for at in fitting if points[at].retention >= points[best].retention - noise(at, best)]
    return min(fitting, key=lambda at: (points[at].bytes, points[at].compressed_bytes or 0, -points[at].retention))


def impossible(points: Sequence[Point], limits: BudgetSettings) -> str:
    """Say that no point holds the limits, which one comes nearest, and by how much each of its limits is missed."""
    nearest = min(points, key=lambda point: sum(violations(point, limits).values()))
    missed = " and ".join(
        {
            "max_bytes": f"--max-bytes {nearest.bytes}",
            "max_latency_ms": f"--max-latency-ms {(nearest.latency_ms or 0.0) + 0.001:.3f}",
            "min_retention": f"--min-retention {int(nearest.retention * 1000) / 1000}",
        }[name]
        for name in violations(nearest, limits)
    )
    latency = "" if nearest.latency_ms is None else f", {nearest.latency_ms:.3f} ms"
    retention = f", retention {nearest.retention:.3f}" if nearest.steps else ""
    return (
        f"no student holds the budget; the nearest is {nearest.name}: {nearest.bytes:,} bytes{latency}{retention}; "
        f"it would fit {missed}"
    )


def points_json(points: Sequence[Point]) -> list[dict[str, Any]]:
    """Return the points as plain JSON, each with its name and whether it stands on the front."""
    front = pareto_front(points)
    return [{**asdict(point), "name": point.name, "front": any(point is one for one in front)} for point in points]


def _costs(point: Point) -> tuple[float, float, float]:
    return point.bytes, point.latency_ms or 0.0, -point.retention
