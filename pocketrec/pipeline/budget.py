"""Points and shapes of the budget search: what a student costs, which meet a limit, and which one is built.

A point is one student under one recipe. `retention` is the share of the teacher's ranking quality above chance that it
keeps (compress/measure/retention.py). A shape is a student before any training: its bytes are computed and its latency is
measured. An untrained student is as large and as fast as a trained one, so most shapes are excluded in seconds.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from compress.errors import QualityGateError
from compress.quantization import quantize
from compress.tflite import convert_query_encoder
from compress.variants import encode_all
from edge_runtime.contract.atomic_files import write_bytes_atomically
from edge_runtime.contract.bundle import ENCODER_FILE
from edge_runtime.contract.types import Progress
from pocketrec.pipeline.settings import BudgetSettings, BuildSettings
from train.models.history import build_history_head
from train.models.student import StudentSettings, architectures, build_student
from train.tasks.declaration import heads


@dataclass(frozen=True)
class Point:
    """One student under one recipe.

    Attributes:
        architecture: name of a registered one (train/models/architectures).
        vocabulary: word pieces.
        hidden: width.
        layers: depth; 0 where the architecture has no blocks.
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


TOKENIZER_BYTES_PER_PIECE = 12
"""Of `tokenizer.json`, on average; the finished points have the true size."""

GRAPH_BYTES_PER_LAYER = 400
"""What the converter writes for one layer beside its weights, in all signatures."""

BYTES_TOLERANCE, LATENCY_TOLERANCE = 1.03, 1.2
"""A prediction this much above a limit may still come out below it."""

_PROBE_PIECES = 200

Latencies = Callable[[StudentSettings], dict[str, float]]
"""Shape -> p50 in milliseconds of its int8 and its dynamic-range form."""

Blocks = tuple[str, int, int]
"""Architecture, width and depth: all that latency depends on."""


@dataclass(frozen=True)
class Shape:
    """A student that could hold the budget: predicted bytes of model and tokenizer; latency where one was asked for."""

    student: StudentSettings
    bytes: int
    latency_ms: float | None

    @property
    def name(self) -> str:
        """Names a folder."""
        student = self.student
        depth = f"-l{student.depth}" if student.depth else ""
        return f"{student.architecture}-v{student.vocabulary}-h{student.hidden}{depth}"


def shape_grid(base: StudentSettings, limits: BudgetSettings) -> list[StudentSettings]:
    """Return every shape of the search; what it does not vary is that of `base`, in proportion to the width."""
    shapes = []
    for architecture, declared in architectures().items():
        for hidden in sorted(set(limits.widths)):
            heads = max(1, round(hidden * base.heads / base.hidden))
            width: dict[str, Any] = {
                "architecture": architecture,
                "hidden": hidden,
                "heads": heads if hidden % heads == 0 else 1,
                "feed_forward": max(1, round(hidden * base.feed_forward / base.hidden)),
            }
            # Without layers one depth stands for all.
            depths = sorted(set(limits.depths)) if declared.has_depth else [base.layers]
            shapes += [
                replace(base, vocabulary=vocabulary, layers=layers, **width)
                for layers in depths
                for vocabulary in sorted(set(limits.vocabularies))
            ]
    return shapes


def plausible_shapes(settings: BuildSettings, latencies: Latencies) -> list[Shape]:
    """Return the shapes that may hold the limits on bytes and latency, each architecture's smallest first.

    Latency is measured only where a limit asks for it, the largest shapes first: what is no larger than a fast one is
    fast, what is no smaller than a slow one is slow.

    Raises:
        QualityGateError: none may; the text names the nearest one.
    """
    limits = settings.budget
    predict = _BytesOf(settings)
    sized = [(student, predict(student)) for student in shape_grid(settings.student, limits)]
    fitting = [
        (student, size)
        for student, size in sized
        if limits.max_bytes is None or size <= limits.max_bytes * BYTES_TOLERANCE
    ]
    if not fitting:
        smallest, size = min(sized, key=lambda one: one[1])
        raise QualityGateError(_impossible(smallest, size, None, limits))
    if limits.max_latency_ms is None:
        return [Shape(student, size, None) for student, size in fitting]
    fast, slow = _by_latency([student for student, _ in fitting], latencies, limits.max_latency_ms * LATENCY_TOLERANCE)
    if not fast:
        fastest = min(slow, key=lambda blocks: slow[blocks])
        student, size = min((one for one in fitting if _blocks(one[0]) == fastest), key=lambda one: one[1])
        raise QualityGateError(_impossible(student, size, slow[fastest], limits))
    return [Shape(student, size, fast[_blocks(student)]) for student, size in fitting if _blocks(student) in fast]


def _by_latency(
    students: Sequence[StudentSettings], latencies: Latencies, limit_ms: float
) -> tuple[dict[Blocks, float | None], dict[Blocks, float]]:
    """Return what holds `limit_ms`, with its latency where it was measured, and what was measured and does not."""
    fast: dict[Blocks, float | None] = {}
    slow: dict[Blocks, float] = {}
    one_of = {_blocks(student): student for student in students}
    for blocks in sorted(one_of, key=lambda one: (one[0], -one[1] * one[2])):
        if any(_not_smaller(known, blocks) for known in fast):
            fast[blocks] = None
        elif not any(_not_smaller(blocks, known) for known in slow):
            milliseconds = min(latencies(one_of[blocks]).values())
            (fast if milliseconds <= limit_ms else slow)[blocks] = milliseconds
    return fast, slow


def choose_trials(shapes: Sequence[Shape], limits: BudgetSettings) -> list[Shape]:
    """Return at most `limits.trials` shapes to train, the same number of each architecture where there are enough.

    Without `min_retention` they are the largest that no other one of their architecture exceeds in vocabulary, width
    and depth at once: within limits, more is better. With it they are spread evenly over the sizes.
    """
    queues = []
    for architecture in architectures():
        own = sorted((one for one in shapes if one.student.architecture == architecture), key=lambda one: -one.bytes)
        if limits.min_retention is not None:
            share = -(-limits.trials // len(architectures()))
            places = np.linspace(0, len(own) - 1, min(len(own), share)).round().astype(int).tolist() if own else []
            queues.append([own[place] for place in dict.fromkeys(places)])
        else:
            queues.append([one for one in own if not any(_exceeds(other, one) for other in own)])
    chosen: list[Shape] = []
    while any(queues) and len(chosen) < limits.trials:
        for queue in queues:
            if queue and len(chosen) < limits.trials:
                chosen.append(queue.pop(0))
    return chosen


def cut_to_language(shapes: Sequence[Shape], pieces: int) -> list[Shape]:
    """Return the shapes with no more word pieces than the shop's language has, each once."""
    cut = [
        replace(one, student=replace(one.student, vocabulary=min(one.student.vocabulary, pieces)))
        for one in sorted(shapes, key=lambda one: one.bytes)
    ]
    return list({one.name: one for one in reversed(cut)}.values())[::-1]


def measure_untrained(
    folder: Path, student: StudentSettings, *, dim: int, progress: Progress
) -> tuple[str, dict[str, float]]:
    """Convert an untrained `student` to int8 and to dynamic-range and measure both; return a line and p50 by variant.

    Weights do not change how long a product takes, nor does the number of rows in the word table.
    """
    model = build_student(student, vocabulary=_PROBE_PIECES, dim=dim)
    ids = np.random.default_rng(0).integers(1, _PROBE_PIECES, (16, student.query_tokens)).astype(np.int32)
    forms: dict[str, Callable[[], Any]] = {"dynamic-range": lambda: model, "int8": lambda: quantize(model)}
    found = {}
    for number, (name, form) in enumerate(forms.items(), 1):
        path = folder / name / ENCODER_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes_atomically(path, convert_query_encoder(form(), tokens=student.query_tokens))
        found[name] = encode_all(path, ids).p50_ms
        progress(number, len(forms))
    line = ", ".join(f"{name} {milliseconds:.3f} ms" for name, milliseconds in found.items())
    return f"{Shape(student, 0, None).name.replace(f'-v{student.vocabulary}', '')}: {line}", found


class _BytesOf:
    """Predicts the bytes of model and tokenizer: int8 matrices, 32-bit vectors, the graph, the tokenizer's pieces."""

    def __init__(self, settings: BuildSettings) -> None:
        self._dim = settings.dim
        further = [head.build(settings.encoder_spec, settings.dim) for head in heads().values()]
        history = build_history_head(settings.history, dim=settings.dim)
        self._heads = sum(map(_weights_bytes, [history, *further]))
        self._known: dict[Blocks, int] = {}

    def __call__(self, student: StudentSettings) -> int:
        blocks = _blocks(student)
        if blocks not in self._known:
            model = build_student(student, vocabulary=_PROBE_PIECES, dim=self._dim)
            self._known[blocks] = _weights_bytes(model) - _PROBE_PIECES * student.hidden
        table = student.vocabulary * (student.hidden + TOKENIZER_BYTES_PER_PIECE)
        return self._known[blocks] + self._heads + table


def _weights_bytes(model: Any) -> int:
    weights = [variable.shape.as_list() for variable in model.weights]
    return sum(int(np.prod(shape)) * (1 if len(shape) > 1 else 4) for shape in weights) + GRAPH_BYTES_PER_LAYER * len(
        model.layers
    )


def _impossible(student: StudentSettings, size: int, latency_ms: float | None, limits: BudgetSettings) -> str:
    untrained = Point(
        architecture=student.architecture,
        vocabulary=student.vocabulary,
        hidden=student.hidden,
        layers=student.depth,
        pruning="none",
        variant="untrained",
        steps=0,
        complete=False,
        bytes=size,
        compressed_bytes=None,
        latency_ms=latency_ms,
        rerank_ndcg10=0.0,
        retrieval_ndcg10=0.0,
        retention=0.0,
        retention_ci95=(0.0, 0.0),
    )
    return impossible([untrained], replace(limits, min_retention=None))


def _blocks(student: StudentSettings) -> Blocks:
    return student.architecture, student.hidden, student.layers


def _not_smaller(blocks: Blocks, other: Blocks) -> bool:
    return blocks[0] == other[0] and blocks[1] >= other[1] and blocks[2] >= other[2]


def _exceeds(other: Shape, one: Shape) -> bool:
    a, b = other.student, one.student
    pairs = ((a.vocabulary, b.vocabulary), (a.hidden, b.hidden), (a.layers, b.layers))
    return all(x >= y for x, y in pairs) and any(x > y for x, y in pairs)
