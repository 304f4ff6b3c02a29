"""What decides a retraining, and what it reports."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from train.clicks.click_model import ClickSettings
from train.clicks.log import LogLimits
from train.clicks.off_policy import OffPolicyResult
from train.clicks.ranknet_tuning import TuneSettings


@dataclass(frozen=True)
class GateSettings:
    """When a retrained bundle may go out.

    Attributes:
        judge_share: share of the devices that judge and do not teach.
        min_gain: lower end of the 95% interval of the doubly robust gain, wanted products per list.
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


@dataclass(frozen=True)
class RetrainReport:
    """What a retraining did.

    Attributes:
        bundle_id: of the new bundle.
        base_bundle_id: of the bundle it was made from.
        lists: logged lists that taught, and that judged.
        queries: that taught.
        position_bias: examination by place, as the teaching devices tell.
        position_bias_is_estimated: False when it was assumed.
        left_out: reason -> how many events were not used.
        trained_weights: how many numbers were free to change.
        off_policy: the judging devices' verdict.
        holdout_before: re-rank nDCG@10 on the held-out queries; None without any.
        holdout_after: the same of the new bundle.
        delta_bytes: of the encoder's file.
        encoder_bytes: of the new encoder's file.
        failed_gates: a sentence for each gate that the bundle did not pass; none: it may go out.
    """

    bundle_id: str
    base_bundle_id: str
    lists: tuple[int, int]
    queries: int
    position_bias: list[float]
    position_bias_is_estimated: bool
    left_out: Mapping[str, int]
    trained_weights: int
    off_policy: OffPolicyResult
    holdout_before: float | None
    holdout_after: float | None
    delta_bytes: int
    encoder_bytes: int
    failed_gates: list[str]
