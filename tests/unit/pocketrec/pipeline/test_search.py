"""How the search chooses, with students whose quality is known beforehand."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from compress.errors import QualityGateError
from compress.measure.quality import unit_rows
from compress.measure.retention import RetentionScale
from compress.pruning import PruneSettings
from pocketrec.pipeline import search as search_module
from pocketrec.pipeline.budget import Shape
from pocketrec.pipeline.search import BudgetSearch, retention_scale, without_judge_texts
from pocketrec.pipeline.settings import BudgetSettings, BuildSettings
from pocketrec.pipeline.stages import KEY_FILE, StageResult, Stages
from pocketrec.pipeline.student_stages import EncoderInputs
from pocketrec.pipeline.teacher_stages import TeacherVectors
from tests.support.budget_points import point
from train.data.tables import Judgement
from train.models.student import StudentSettings

ITEMS = unit_rows(np.random.default_rng(0).standard_normal((30, 8)))
JUDGED = {f"q{n}": [Judgement(f"q{n}", n, 1.0), Judgement(f"q{n}", n + 5, 0.0)] for n in range(20)}
SCALE = RetentionScale(JUDGED, ITEMS, np.full((20, 2), 0.9), False)
SIZES = (100, 200, 400, 800)


def values(retention):
    return SCALE.chance + retention * (SCALE.teacher - SCALE.chance)


class KnownStudents(BudgetSearch):
    """A search that trains nothing: a student of so many pieces has that retention, short-trained or not."""

    def __init__(self, work, limits, retention_of):
        super().__init__(BuildSettings(budget=limits), work, reporter=None)
        self.retention_of = retention_of
        self.finished = []

    def _tried(self, pieces, complete):
        retention = self.retention_of[pieces]
        made = point(
            pieces * 1000, pieces / 10_000, retention, vocabulary=pieces, complete=complete,
            compressed_bytes=pieces * 600 if complete else None,
        )  # fmt: skip
        settings = replace(self._settings, student=StudentSettings(vocabulary=pieces))
        return search_module._Tried(made, values(retention), settings)

    def _try_short(self, inputs, scale, shape):
        return self._tried(shape.student.vocabulary, False)

    def _finish(self, inputs, scale, trial):
        self.finished.append(trial.point.vocabulary)
        return [self._tried(trial.point.vocabulary, True)]

    def _build(self, inputs, settings):
        return settings.student.vocabulary


class FakeVocabulary:
    class tokenizer:
        @staticmethod
        def get_vocab_size():
            return 10_000


@pytest.fixture(autouse=True)
def nothing_is_read(monkeypatch):
    monkeypatch.setattr(search_module, "retention_scale", lambda _inputs: SCALE)
    monkeypatch.setattr(search_module.EncoderStages, "vocabulary", FakeVocabulary)


def shapes():
    return [Shape(StudentSettings(vocabulary=size), size * 1000, None) for size in SIZES]


def search(tmp_path, limits, retention_of):
    searching = KnownStudents(tmp_path, limits, dict(zip(SIZES, retention_of, strict=True)))
    return searching, searching.search(None, shapes())


def test_the_smallest_that_keeps_enough_is_found_without_finishing_all(tmp_path):
    limits = BudgetSettings(min_retention=0.85, trials=12)
    searching, found = search(tmp_path, limits, (0.7, 0.8, 0.9, 0.95))
    assert found.encoder == found.settings.student.vocabulary == 400
    assert len(searching.finished) < len(SIZES)
    assert found.report["points"][found.report["chosen"]]["bytes"] == 400_000


def test_a_larger_student_that_is_no_better_is_never_finished(tmp_path):
    searching, found = search(tmp_path, BudgetSettings(min_retention=0.75, trials=12), (0.7, 0.9, 0.8, 0.85))
    assert found.encoder == 200
    assert not {400, 800} & set(searching.finished)


def test_when_none_keeps_enough_the_best_is_named(tmp_path):
    with pytest.raises(QualityGateError, match=r"it would fit --min-retention 0\.95"):
        search(tmp_path, BudgetSettings(min_retention=0.99, trials=12), (0.7, 0.8, 0.9, 0.95))


def test_within_a_budget_the_best_short_trainings_are_finished(tmp_path):
    limits = BudgetSettings(max_bytes=10**9, finalists=1)
    searching, found = search(tmp_path, limits, (0.7, 0.8, 0.9, 0.95))
    assert searching.finished == [800]
    assert found.encoder == 800


def test_the_report_tells_every_point_and_is_json(tmp_path):
    _, found = search(tmp_path, BudgetSettings(min_retention=0.85, max_bytes=10**9, trials=12), (0.7, 0.8, 0.9, 0.95))
    report = json.loads(json.dumps(found.report))
    assert report["limits"] == {"max_bytes": 10**9, "max_latency_ms": None, "min_retention": 0.85}
    assert sum(not one["complete"] for one in report["points"]) == len(SIZES)
    assert all(report["points"][at]["complete"] for at in report["front"])
    assert (report["queries"], report["by_teacher"]) == (20, False)
    assert report["optimism"] >= 0.0


def test_pruning_is_compared_where_kernels_could_get_smaller(tmp_path):
    asked = PruneSettings(sparsity=0.5)
    searching = BudgetSearch(replace(BuildSettings(), prune=asked), tmp_path, reporter=None)
    bert, bag = StudentSettings(architecture="bert"), StudentSettings(architecture="bag")
    assert [one.sparsity for one in searching._recipes(bert)] == [0.0, 0.5]
    assert [one.sparsity for one in searching._recipes(bag)] == [0.0]
    unpruned = BudgetSearch(BuildSettings(), tmp_path, reporter=None)
    assert len(unpruned._recipes(bert)) == 1


def test_a_new_build_removes_what_an_older_search_left(tmp_path):
    BudgetSearch(BuildSettings(), tmp_path, reporter=None)
    assert (tmp_path / "budget" / KEY_FILE).exists()
    Stages(tmp_path, resume=False, reporter=None)
    assert not (tmp_path / "budget").exists()


def test_texts_that_stand_for_queries_train_no_student_in_any_spelling(tmp_path):
    random = np.random.default_rng(0)
    targets = unit_rows(random.standard_normal((60, 8)))
    texts = [f"{kind} {number}" for number in range(60) for kind in ("text", "txet")]
    none = np.zeros((0, 8), np.float32)
    vectors = TeacherVectors(
        unit_rows(random.standard_normal((30, 8))), texts, targets.repeat(2, axis=0), none, none, none
    )
    stage = StageResult(tmp_path, "key", {}, 0.0)
    history = SimpleNamespace(item_vectors=lambda _folder: vectors.items)
    inputs = EncoderInputs(None, None, {}, vectors, history, None, {"vectors": stage, "history": stage})
    scale = retention_scale(inputs)
    rest = without_judge_texts(inputs)
    judging = {text.split()[1] for text in scale.judged}
    assert (scale.by_teacher, len(judging)) == (True, 12)
    assert {text.split()[1] for text in rest.vectors.student_texts} == {str(n) for n in range(60)} - judging
    assert len(rest.vectors.targets) == len(rest.vectors.student_texts) == 96
    assert rest.results["vectors"].key != inputs.results["vectors"].key
