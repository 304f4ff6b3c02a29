"""The search for the student that fits a budget, from one teacher's vectors.

Successive halving (Jamieson and Talwalkar, 2016) in two rounds: every plausible shape is trained for a short while;
the best ones are trained to the end and go through the whole recipe, pruned and not. Each training is a stage in a folder
of its own, so a killed search continues, and a search with other limits uses what an earlier one trained.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from compress.measure.retention import MIN_QUERIES, RetentionScale, judged_by_teacher, optimism
from compress.pruning import PruneSettings
from compress.variants import VARIANTS, VariantName, encode_all
from edge_runtime.contract.atomic_files import write_bytes_atomically
from edge_runtime.contract.bundle import ENCODER_FILE, TOKENIZER_FILE
from edge_runtime.contract.types import Float64, Int64
from pocketrec.pipeline.budget import (
    Point,
    Shape,
    choose,
    choose_trials,
    cut_to_language,
    measure_untrained,
    pareto_front,
    plausible_shapes,
    points_json,
)
from pocketrec.pipeline.graph import StageRunner
from pocketrec.pipeline.settings import BuildSettings
from pocketrec.pipeline.stages import KEY_FILE, Reporter, StageResult, Stages, digest_of
from pocketrec.pipeline.student_stages import (
    EncoderBuild,
    EncoderInputs,
    EncoderStages,
    StudentStages,
)
from pocketrec.pipeline.teacher_stages import TeacherVectors
from train.models.student import StudentSettings

BUDGET_FOLDER = "budget"
TEACHER_QUERIES = 200
"""Number of texts used as queries where too few are judged: at most a fifth of all; they train no student."""


@dataclass(frozen=True)
class BudgetOutcome:
    """The chosen settings, what their stages left, and what the report tells of the search."""

    settings: BuildSettings
    encoder: EncoderBuild
    report: dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Tried:
    point: Point
    values: Float64
    settings: BuildSettings


class _Named:
    """Tells of a stage under the name of the shape that it belongs to."""

    def __init__(self, name: str, reporter: Reporter) -> None:
        self._name = name
        self._reporter = reporter

    def started(self, stage: str) -> None:
        self._reporter.started(f"{self._name} {stage}")

    def progress(self, stage: str, done: int, total: int) -> None:
        self._reporter.progress(f"{self._name} {stage}", done, total)

    def finished(self, stage: str, line: str, *, seconds: float, reused: bool) -> None:
        self._reporter.finished(f"{self._name} {stage}", line, seconds=seconds, reused=reused)


class BudgetSearch:
    """Searches under the limits of `settings.budget`; leaves its stages below `work`/budget."""

    def __init__(self, settings: BuildSettings, work: Path, reporter: Reporter) -> None:
        self._settings = settings
        self._limits = settings.budget
        self._folder = work / BUDGET_FOLDER
        self._folder.mkdir(parents=True, exist_ok=True)
        # `Stages` removes only what bears this mark.
        write_bytes_atomically(self._folder / KEY_FILE, b"search")
        self._reporter = reporter

    def plausible(self) -> list[Shape]:
        """Return the shapes that may hold the limits on bytes and latency; needs no teacher.

        Raises:
            QualityGateError: none may.
        """
        run = StageRunner(self._stages_in("shapes"), self._settings)

        def latencies(student: StudentSettings) -> dict[str, float]:
            probe = replace(student, vocabulary=1)
            name = f"shape@{Shape(probe, 0, None).name.replace('-v1', '')}"
            found = run(
                name,
                lambda folder, progress: measure_untrained(folder, probe, dim=self._settings.dim, progress=progress),
                shape=probe,
            )
            return {str(variant): float(value) for variant, value in found.report.items()}

        return plausible_shapes(self._settings, latencies)

    def search(self, inputs: EncoderInputs, shapes: Sequence[Shape]) -> BudgetOutcome:
        """Train, compare and choose.

        Args:
            inputs: teacher, vectors and history head of the build.
            shapes: from `plausible`.

        Raises:
            QualityGateError: no point holds the limits; the text names the nearest one.
        """
        scale = retention_scale(inputs)
        if scale.by_teacher:
            inputs = without_judge_texts(inputs)
        most = replace(self._settings.student, vocabulary=max(shape.student.vocabulary for shape in shapes))
        vocabulary = EncoderStages(inputs, replace(self._settings, student=most), self._stages_in("shapes")).vocabulary
        pieces = vocabulary.tokenizer.get_vocab_size()
        trials = [
            self._try_short(inputs, scale, shape)
            for shape in choose_trials(cut_to_language(shapes, pieces), self._limits)
        ]
        finished: list[_Tried] = []
        if self._limits.min_retention is None:
            for trial in sorted(trials, key=lambda one: -one.point.retention)[: self._limits.finalists]:
                finished += self._finish(inputs, scale, trial)
        else:
            finished = self._smallest_that_keeps(inputs, scale, trials)
        chosen = self._choose(scale, finished)
        # The stages are known but for the conversion, which puts the chosen variant in the first place.
        return BudgetOutcome(
            chosen.settings, self._build(inputs, chosen.settings), self._report(scale, trials, finished, chosen)
        )

    def _try_short(self, inputs: EncoderInputs, scale: RetentionScale, shape: Shape) -> _Tried:
        steps = max(1, round(self._settings.distill.steps * self._limits.first_share))
        settings = replace(self._settings, student=shape.student, distill=replace(self._settings.distill, steps=steps))
        stages = EncoderStages(inputs, settings, self._stages_in(shape.name))
        distilled = stages.distill("short")
        student = stages.student
        values = scale.values(student.encode(student.student(distilled.folder), list(scale.judged)))
        point = _point(
            shape.student, "none", "float", steps, scale, values, size=shape.bytes, latency_ms=shape.latency_ms
        )
        return _Tried(point, values, replace(self._settings, student=shape.student))

    def _finish(self, inputs: EncoderInputs, scale: RetentionScale, trial: _Tried) -> list[_Tried]:
        """Train one shape to the end and return a point for each recipe and variant."""
        found = []
        for prune in self._recipes(trial.settings.student):
            settings = replace(trial.settings, prune=prune)
            converted = self._build(inputs, settings).results["convert"]
            student = EncoderStages(inputs, settings, self._stages_in("shapes")).student
            found += [self._measured(scale, settings, student, converted, variant) for variant in VARIANTS]
        return found

    def _build(self, inputs: EncoderInputs, settings: BuildSettings) -> EncoderBuild:
        """Run the stages of one recipe; all recipes of a shape share the distilled student."""
        name = Shape(settings.student, 0, None).name
        recipe = _pruning_name(settings.prune).replace("%", "").replace(":", "of")
        distilled = EncoderStages(inputs, settings, self._stages_in(name)).distill()
        return EncoderStages(inputs, settings, self._stages_in(f"{name}-{recipe}")).build(distilled)

    def _smallest_that_keeps(
        self, inputs: EncoderInputs, scale: RetentionScale, trials: Sequence[_Tried]
    ) -> list[_Tried]:
        """Halve the shapes, smallest first, until it is known which is the smallest that keeps enough quality.

        Shapes that a smaller one matched in the short training are left out; what is left gets better as it grows.
        """
        candidates: list[_Tried] = []
        for trial in sorted(trials, key=lambda one: one.point.bytes):
            if not candidates or trial.point.retention > candidates[-1].point.retention:
                candidates.append(trial)
        low, high, finished = 0, len(candidates), list[_Tried]()
        while low < high:
            middle = (low + high) // 2
            made = self._finish(inputs, scale, candidates[middle])
            finished += made
            if max(one.point.retention for one in made) >= (self._limits.min_retention or 0.0):
                high = middle
            else:
                low = middle + 1
        return finished

    def _measured(
        self,
        scale: RetentionScale,
        settings: BuildSettings,
        student: StudentStages,
        converted: StageResult,
        variant: VariantName,
    ) -> _Tried:
        report = next(one for one in converted.report["variants"] if one["name"] == variant)
        ids = student.query_ids(list(scale.judged))
        values = scale.values(encode_all(converted.folder / variant / ENCODER_FILE, ids).vectors)
        tokenizer = (converted.folder / TOKENIZER_FILE).stat().st_size
        point = _point(
            settings.student,
            _pruning_name(settings.prune),
            variant,
            settings.distill.steps,
            scale,
            values,
            size=report["bytes"] + tokenizer,
            latency_ms=report["encode_p50_ms"],
            compressed=report["compressed_bytes"] + converted.report["tokenizer_compressed_bytes"],
        )
        return _Tried(point, values, replace(settings, variant=variant))

    def _recipes(self, student: StudentSettings) -> list[PruneSettings]:
        """Return the prunings to compare; without blocks there is hardly a kernel that zeros could make smaller."""
        asked, none = self._settings.prune, replace(self._settings.prune, sparsity=0.0)
        return [none] if not student.depth or not asked.prunes else [none, asked]

    def _choose(self, scale: RetentionScale, finished: Sequence[_Tried]) -> _Tried:
        def noise(at: int, best: int) -> float:
            return scale.noise(finished[at].values, finished[best].values)

        return finished[choose([one.point for one in finished], self._limits, noise)]

    def _report(
        self, scale: RetentionScale, trials: Sequence[_Tried], finished: Sequence[_Tried], chosen: _Tried
    ) -> dict[str, Any]:
        points = [one.point for one in (*finished, *trials)]
        return {
            "limits": {name: getattr(self._limits, name) for name in ("max_bytes", "max_latency_ms", "min_retention")},
            "points": points_json(points),
            "chosen": points.index(chosen.point),
            "front": [points.index(point) for point in pareto_front(points)],
            "queries": len(scale.teacher),
            "by_teacher": scale.by_teacher,
            "optimism": optimism(scale, [one.values for one in finished]),
        }

    def _stages_in(self, name: str) -> Stages:
        return Stages(self._folder / name, resume=True, reporter=_Named(name, self._reporter))


def retention_scale(inputs: EncoderInputs) -> RetentionScale:
    """Return what students are held against: the held-out judged queries, or the teacher's own rankings without them."""
    items = inputs.item_vectors
    judged = {query: found for query, found in inputs.held_out.items() if any(one.gain for one in found)}
    if len(judged) >= MIN_QUERIES:
        vectors = inputs.vectors
        at = [number for number, query in enumerate(inputs.held_out) if query in judged]
        wide = RetentionScale(judged, vectors.wide_items, np.zeros((0, 2)), False)
        return RetentionScale(judged, items, wide.values(vectors.wide_held_out[at]), False)
    vectors = inputs.vectors
    rows, _ = _judge_texts(vectors)
    targets = vectors.targets[rows]
    by_teacher = judged_by_teacher([vectors.student_texts[row] for row in rows], targets, items)
    scale = RetentionScale(by_teacher, items, np.zeros((0, 2)), True)
    return replace(scale, teacher=scale.values(targets))


def without_judge_texts(inputs: EncoderInputs) -> EncoderInputs:
    """Return `inputs` without the texts that `retention_scale` uses as queries, in all their spellings."""
    vectors, (_, kept) = inputs.vectors, _judge_texts(inputs.vectors)
    rest = replace(vectors, student_texts=[vectors.student_texts[row] for row in kept], targets=vectors.targets[kept])
    encoded = inputs.results["vectors"]
    encoded = replace(encoded, key=digest_of(encoded.key, "without the texts that judge"))
    return replace(inputs, vectors=rest, results={**inputs.results, "vectors": encoded})


def _judge_texts(vectors: TeacherVectors) -> tuple[Int64, Int64]:
    """Return rows of `student_texts`: those used as queries, and those that share a target with none of these."""
    _, first, text_of = np.unique(vectors.targets, axis=0, return_index=True, return_inverse=True)
    count = min(TEACHER_QUERIES, max(1, len(first) // 5))
    chosen = np.linspace(0, len(first) - 1, count).astype(np.int64)
    return first[chosen], np.flatnonzero(~np.isin(text_of.ravel(), chosen))


def _pruning_name(prune: PruneSettings) -> str:
    return f"{prune.sparsity:.0%}" if prune.prunes else "none"


def _point(
    student: StudentSettings,
    pruning: str,
    variant: str,
    steps: int,
    scale: RetentionScale,
    values: Float64,
    *,
    size: int,
    latency_ms: float | None,
    compressed: int | None = None,
) -> Point:
    rerank, retrieval = values.mean(axis=0)
    return Point(
        architecture=student.architecture,
        vocabulary=student.vocabulary,
        hidden=student.hidden,
        layers=student.depth,
        pruning=pruning,
        variant=variant,
        steps=steps,
        complete=compressed is not None,
        bytes=size,
        compressed_bytes=compressed,
        latency_ms=latency_ms,
        rerank_ndcg10=float(rerank),
        retrieval_ndcg10=float(retrieval),
        retention=scale.retention(values),
        retention_ci95=scale.interval(values),
    )
