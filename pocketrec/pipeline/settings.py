"""All settings of a build and of a retraining; the digest of a build's settings is in the manifest."""

import json
from dataclasses import dataclass, field
from typing import Any

from compress.pruning import PruneSettings
from compress.variants import VariantName
from edge_runtime.contract.bundle import REPORT_FILE, Bundle, EncoderSpec
from edge_runtime.contract.errors import ConfigError
from edge_runtime.settings import from_mapping
from train.clicks.click_model import ClickSettings
from train.clicks.log import LogLimits
from train.clicks.ranknet_tuning import TuneSettings
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
class BuildSettings:
    """A build. The defaults suit a shop of some thousand products on two cores.

    Attributes:
        seed: of every random choice.
        dim: width of the vectors on the device.
        holdout: share of the judged queries that no training sees; figures and the fusion weight come from them.
        candidates: how many products the vector index hands on to rescoring.
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

    @property
    def encoder_spec(self) -> EncoderSpec:
        """Lengths of the signatures of `encoder.tflite`."""
        return EncoderSpec(
            query_tokens=self.student.query_tokens,
            item_tokens=self.student.item_tokens,
            history_items=self.history.items,
        )


@dataclass(frozen=True)
class GateSettings:
    """When a retrained bundle may go out.

    Attributes:
        judge_share: share of the devices that are used for evaluation, not for training.
        min_gain: lower end of the 95% interval of the doubly robust gain, clicked or bought products per list.
        max_holdout_loss: how much re-rank nDCG@10 on the shop's held-out queries may fall.
        max_delta_share: the delta may weigh so much of the full bundle's model.
    """

    judge_share: float = 0.5
    min_gain: float = 0.0
    max_holdout_loss: float = 0.02
    max_delta_share: float = 0.05


@dataclass(frozen=True)
class RetrainSettings:
    """All that decides a retraining."""

    seed: int = 0
    log: LogLimits = field(default_factory=LogLimits)
    clicks: ClickSettings = field(default_factory=ClickSettings)
    tune: TuneSettings = field(default_factory=TuneSettings)
    gate: GateSettings = field(default_factory=GateSettings)


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
