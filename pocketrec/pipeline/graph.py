"""What decides the result of each stage of a build, declared once, and where a finished build finds its results again.

A stage's key is a digest of what `STAGES` declares for it: inputs, settings, the code that computes it and the versions of
the libraries. `StageRunner` makes the key, so no caller can forget a part of it. A bundle that was built, searched for
under a budget or retrained is recorded with its artifacts: retraining and export ask for them and never name a folder.
"""

import ast
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from operator import attrgetter
from pathlib import Path
from typing import Any

from edge_runtime.contract.atomic_files import write_bytes_atomically
from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.types import Progress
from pocketrec.pipeline.settings import BuildSettings
from pocketrec.pipeline.stages import KEY_FILE, RECORD_FILE, StageResult, Stages, StageWork
from train.backend import make_reproducible

TUNED = "tuned"
"""Artifact of a retrained bundle: the weights of its quantized encoder after the clicks."""

_ROOT = Path(__file__).resolve().parents[2]
_ROOMS = ("train", "compress", "edge_runtime")
_KERAS = ("tensorflow", "tf-keras", "numpy", "tokenizers")
_TFMOT = (*_KERAS, "tensorflow-model-optimization")


@dataclass(frozen=True)
class Stage:
    """All that decides a stage's result; its key is made of this and of nothing else.

    Attributes:
        runner: module of the pipeline that runs it; its own code counts, not what it imports.
        code: modules of the rooms that compute it; all that they import of ours counts with them.
        libraries: packages whose version counts.
        inputs: what the stage is given: the results of other stages by their names, which count by their keys, and other
            data under a name of its own, which counts by its content.
        settings: the fields of `BuildSettings` that count, like "distill" or "cross_encoder.of_training".
    """

    runner: str
    code: tuple[str, ...]
    libraries: tuple[str, ...]
    inputs: tuple[str, ...]
    settings: tuple[str, ...]


def _stage(
    runner: str, *code: str, inputs: tuple[str, ...], settings: tuple[str, ...], libraries: tuple[str, ...] = _KERAS
) -> Stage:
    return Stage(f"pocketrec.pipeline.{runner}", code, libraries, inputs, settings)


_STUDENT = _stage(
    "student_stages", "train.losses.distillation", "train.models.student", "train.models.vocabulary",
    inputs=("vectors",), settings=("student", "distill"),
)  # fmt: skip

STAGES: Mapping[str, Stage] = {
    "teacher": _stage(
        "teacher_stages", "train.fine_tuning", "train.models.teacher",
        inputs=("learning_data", "teacher_weights"), settings=("teacher", "seed"),
    ),
    "cross-encoder": _stage(
        "cross_encoder", "train.models.cross_encoder_training",
        inputs=("teacher", "held_out_judgements"), settings=("cross_encoder.of_training", "seed"),
    ),
    "vectors": _stage(
        "teacher_stages",
        "train.models.projection", "train.models.teacher", "train.text.augmentation", "train.text.embedding_cache",
        inputs=("teacher", "cross-encoder", "held_out_queries"),
        settings=("projection", "texts", "dim", "cross_encoder"),
    ),
    "history": _stage("history_stages", "train.tasks.next_basket", inputs=("vectors",), settings=("history",)),
    "history-int8": _stage(
        "history_stages", "train.tasks.next_basket", "compress.quantization",
        inputs=("history",), settings=("quantize",), libraries=_TFMOT,
    ),
    "task": _stage("history_stages", "train.tasks.declaration", inputs=("history",), settings=("dim", "student")),
    "task-int8": _stage(
        "history_stages", "train.tasks.declaration", "compress.quantization",
        inputs=("task",), settings=("quantize",), libraries=_TFMOT,
    ),
    "student": _STUDENT,
    "short": _STUDENT,
    "prune": _stage(
        "student_stages", "train.losses.distillation", "compress.pruning",
        inputs=("student",), settings=("prune",), libraries=_TFMOT,
    ),
    "quantize": _stage(
        "student_stages", "train.losses.distillation", "compress.quantization",
        inputs=("prune",), settings=("quantize",), libraries=_TFMOT,
    ),
    "convert": _stage(
        "student_stages", "compress.tflite", "compress.variants",
        inputs=("quantize", "history-int8", "task_heads", "held_out_judgements"), settings=("variant",), libraries=_TFMOT,
    ),
    "shape": _stage(
        "budget", "compress.tflite", "train.models.student",
        inputs=("shape",), settings=("dim",), libraries=_TFMOT,
    ),
    "pack": _stage(
        "packing",
        "compress.catalogue.writing", "compress.fusion", "compress.measure.quality", "compress.report.page",
        inputs=("convert", "shop", "budget_search"), settings=("candidates",),
    ),
}  # fmt: skip

# A work folder that is built into every night keeps the artifacts of this many bundles on record; older ones were built
# over long ago.
_KEPT_BUILDS = 20


class StageRunner:
    """Runs declared stages, each with every random generator set to the build's seed first.

    Attributes:
        results: name of a stage -> its result, in the order in which they ran.
    """

    def __init__(self, stages: Stages, settings: BuildSettings) -> None:
        self._stages = stages
        self._settings = settings
        self.results: dict[str, StageResult] = {}

    def __call__(self, name: str, work: StageWork, **inputs: Any) -> StageResult:
        """Run one stage, or take its result when nothing that decides it has changed.

        Args:
            name: of `STAGES`; results of one stage that stand side by side are named "stage@which".
            work: see `StageWork`.
            inputs: what the stage declares, with `_` for `-`; None for a stage that was left out.

        Raises:
            TypeError: other inputs are given than the stage declares.
            TrainingError: the stage's folder holds files that no build wrote; nothing has been removed.
        """
        declared = STAGES[name.partition("@")[0]]
        names = [wanted.replace("-", "_") for wanted in declared.inputs]
        if set(names) != set(inputs):
            raise TypeError(f"stage {name} is given {sorted(inputs)} and declares {sorted(names)}")
        given = [inputs[wanted] for wanted in names]
        key_parts = [
            *(one.key if isinstance(one, StageResult) else one for one in given),
            *(attrgetter(field)(self._settings) for field in declared.settings),
            *version_of(name),
        ]

        def seeded(folder: Path, progress: Progress) -> tuple[str, dict[str, Any]]:
            # A stage must not depend on how many random numbers the stages before it drew in this process.
            make_reproducible(self._settings.seed)
            return work(folder, progress)

        self.results[name] = self._stages.run(name, key_parts, seeded)
        return self.results[name]


def version_of(stage: str) -> list[str]:
    """Return what enters the key of `stage` for its code and its libraries.

    Comments and docstrings do not count, so that a better sentence trains nothing again. Results of one stage that stand
    side by side are named "stage@which".
    """
    declared = STAGES[stage.partition("@")[0]]
    modules = sorted({declared.runner, *_closure(declared.code)})
    digest = hashlib.sha256("".join(_code_digest(module) for module in modules).encode()).hexdigest()
    return [digest, *(f"{name} {version(name)}" for name in declared.libraries)]


def _closure(modules: tuple[str, ...]) -> set[str]:
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += _imports(module)
    return found


def _path(module: str) -> Path:
    path = _ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(_path(module).read_bytes())


@cache
def _imports(module: str) -> tuple[str, ...]:
    names = set()
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            names |= {one for alias in node.names for one in (alias.name, *_registered(alias.name))}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name for name in inner if _path(name).is_file()} or {node.module}
    return tuple(sorted(name for name in names if name.split(".")[0] in _ROOMS))


def _registered(package: str) -> list[str]:
    """Return the modules of a package that is imported whole, to find what is registered in them."""
    return [f"{package}.{path.stem}" for path in sorted(_ROOT.joinpath(*package.split(".")).glob("[a-z]*.py"))]


@cache
def _code_digest(module: str) -> str:
    tree = ast.parse(_path(module).read_bytes())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_text(part)]  # type: ignore[attr-defined]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_text(part: ast.AST) -> bool:
    return isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant) and isinstance(part.value.value, str)


@dataclass(frozen=True)
class Artifacts:
    """The stages' results of one bundle.

    Attributes:
        bundle_id: whose.
        folders: name of a stage -> the folder of its result.
    """

    bundle_id: str
    folders: Mapping[str, Path]

    def folder(self, stage: str) -> Path:
        """Return where the result of `stage` lies.

        Raises:
            ConfigError: this bundle was made without that stage.
        """
        try:
            return self.folders[stage]
        except KeyError:
            raise ConfigError(
                f"bundle {self.bundle_id[:12]} was made without the stage {stage}; build it again"
            ) from None


def record_artifacts(work: Path, bundle_id: str, folders: Mapping[str, Path]) -> None:
    """Write down in `work` which stages made the bundle; stopped halfway, the record is what it was.

    Args:
        work: folder of the stages.
        bundle_id: from the bundle's manifest.
        folders: name of a stage -> its folder below `work`.
    """
    builds = _read_record(work)
    builds.pop(bundle_id, None)
    builds[bundle_id] = {
        name: {"folder": folder.relative_to(work).as_posix(), "key": _key_in(folder)}
        for name, folder in folders.items()
    }
    kept = dict(list(builds.items())[-_KEPT_BUILDS:])
    write_bytes_atomically(work / RECORD_FILE, json.dumps(kept, indent=1).encode())


def artifacts_of(bundle_id: str, work: Path) -> Artifacts:
    """Return the stages' results that made a bundle.

    Raises:
        ConfigError: `work` is not where it was built, or its stages have been built over since.
    """
    build = _read_record(work).get(bundle_id)
    if build is None:
        raise ConfigError(
            f"{work} holds no stages of bundle {bundle_id[:12]}; name the folder that its own build left "
            "(--work, else BUNDLE.build), or build it again"
        )
    folders = {name: work / stage["folder"] for name, stage in build.items()}
    changed = [name for name, folder in folders.items() if _key_in(folder) != build[name]["key"]]
    if changed:
        raise ConfigError(
            f"in {work} the stages {', '.join(changed)} of bundle {bundle_id[:12]} are gone or were built over by a "
            "later build; build the bundle again"
        )
    return Artifacts(bundle_id, folders)


def _key_in(folder: Path) -> str:
    try:
        return (folder / KEY_FILE).read_text()
    except OSError:
        return ""


def _read_record(work: Path) -> dict[str, dict[str, dict[str, str]]]:
    try:
        builds = json.loads((work / RECORD_FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return builds if isinstance(builds, dict) else {}
