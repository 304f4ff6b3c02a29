"""Everything that decides what a build makes; its digest goes into the manifest."""

from dataclasses import dataclass, field
from typing import Literal

from compress.budget import BudgetSettings
from compress.pruning import PruneSettings
from train.cross_encoder_rounds import CrossEncoderSettings
from train.distill import DistillSettings
from train.distillation_texts import TextSettings
from train.fine_tuning import TeacherSettings
from train.projection import ProjectionSettings
from train.sequence import HistorySettings
from train.stages import added_setting
from train.student import StudentSettings

VariantName = Literal["int8", "int8-calibrated", "dynamic-range"]


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
    cross_encoder: CrossEncoderSettings = added_setting(CrossEncoderSettings())  # noqa: RUF009 (frozen)
