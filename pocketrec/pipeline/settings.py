"""Everything that decides what a build makes; its digest goes into the manifest."""

import json
from dataclasses import dataclass, field
from typing import Any

from compress.pruning import PruneSettings
from compress.variants import VariantName
from edge_runtime.contract.bundle import REPORT_FILE, Bundle
from edge_runtime.contract.errors import ConfigError
from edge_runtime.settings import from_mapping
from pocketrec.pipeline.budget import BudgetSettings
from train.distillation import DistillSettings
from train.fine_tuning import TeacherSettings
from train.models.cross_encoder_training import CrossEncoderSettings
from train.models.history import HistorySettings
from train.models.projection import ProjectionSettings
from train.models.student import StudentSettings
from train.text.augmentation import TextSettings


@dataclass(frozen=True)
class QuantizeSettings:
    """Quantization-aware training after calibration."""

    steps: int = 400
    learning_rate: float = 3e-4


@dataclass(frozen=True)
class BuildSettings:
    """A build. The defaults suit a shop of some thousand products on two cores.

    Attributes:
        seed: of every random choice.
        dim: width of the vectors on the device.
        holdout: share of the judged queries that no training sees; figures and the fusion weight come from them.
        candidates: how many products the catalogue layer hands on to rescoring.
        variant: which .tflite of the student is shipped (compress/variants.py); the report compares all three.
    """

    seed: int = 0
    dim: int = 128
    holdout: float = 0.15
    candidates: int = 100
    variant: VariantName = "int8"
    teacher_source: str = "minilm"
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    projection: ProjectionSettings = field(default_factory=ProjectionSettings)
    texts: TextSettings = field(default_factory=TextSettings)
    student: StudentSettings = field(default_factory=StudentSettings)
    distill: DistillSettings = field(default_factory=DistillSettings)
    history: HistorySettings = field(default_factory=HistorySettings)
    prune: PruneSettings = field(default_factory=PruneSettings)
    quantize: QuantizeSettings = field(default_factory=QuantizeSettings)
    budget: BudgetSettings = field(default_factory=BudgetSettings)
    cross_encoder: CrossEncoderSettings = field(default_factory=CrossEncoderSettings)


def build_settings_of(bundle: Bundle) -> BuildSettings:
    """Return the settings that `bundle` was built with, from its report.

    Raises:
        ConfigError: the report is missing or holds no settings that this version knows.
    """
    path = bundle.path(REPORT_FILE)
    try:
        values = json.loads(path.read_bytes())["settings"]
        # Earlier versions had this layer always, and half as wide as the other.
        values["history"].setdefault("pointer_hidden", values["history"]["hidden"] // 2)
        return from_mapping(_without_none(values), BuildSettings, source=str(path))
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"{path} does not hold the settings of the build ({error}); build the bundle again"
        ) from error


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in values.items()
        if value is not None
    }
