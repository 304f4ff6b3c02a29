"""The plan of a rollout: its stages, their duration, and the limits of its guardrails."""

from typing import Annotated

import msgspec
from msgspec import Meta

from edge_runtime.contract.errors import ConfigError


class RolloutPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a rollout brings a release to the whole channel.

    `pocketrec rollout start` has an option for each field, with the description as its help. A limit with several numbers
    has one for each stage, and the last number holds for the remaining stages: few devices cannot rule out a small loss.
    """

    stages: Annotated[
        tuple[float, ...], Meta(description="shares of the fleet in per cent, rising, the last one 100")
    ] = (1.0, 5.0, 25.0, 100.0)
    soak_hours: Annotated[float, Meta(description="how long a stage lasts at least")] = 24.0
    hold_hours: Annotated[
        float, Meta(description="how long a stage waits for evidence before the rollout pauses for the operator")
    ] = 336.0
    max_failures: Annotated[
        float, Meta(description="share of devices whose installation or proof may fail, or that may crash (each)")
    ] = 0.02
    max_latency_ratio: Annotated[float, Meta(description="how many times slower the release may be")] = 1.25
    alpha: Annotated[
        float,
        Meta(
            description="probability that a harmless rollout is ever halted, at most, over all guardrails and all looks"
        ),
    ] = 0.05
    max_click_drop: Annotated[
        tuple[float, ...], Meta(description="relative loss of clicks that each stage must rule out before it ends")
    ] = (0.3, 0.15, 0.1)
    min_devices: Annotated[int, Meta(description="devices that must have reported before a stage can end")] = 1

    def limit(self, setting: str, *, stage: int) -> float:
        """Return the number that the field `setting` holds for stage number `stage` (from 0)."""
        value: float | tuple[float, ...] = getattr(self, setting)
        return value[min(stage, len(value) - 1)] if isinstance(value, tuple) else value

    def checked(self) -> "RolloutPlan":
        """Return this plan when it can work.

        Raises:
            ConfigError: names the field and what was expected.
        """
        rising = all(left < right for left, right in zip(self.stages, self.stages[1:], strict=False))
        if not self.stages or not rising or self.stages[0] <= 0 or self.stages[-1] != 100:
            raise ConfigError(f"stages: expected rising per cents that end with 100, got {list(self.stages)}")
        limits = (self.alpha, self.max_failures, *self.max_click_drop)
        if not self.max_click_drop or not all(0 < limit < 1 for limit in limits):
            raise ConfigError("alpha, max_failures and max_click_drop: expected shares between 0 and 1")
        if self.soak_hours < 0 or self.hold_hours < self.soak_hours or self.min_devices < 0:
            raise ConfigError("expected soak_hours of at least 0, hold_hours not below it, min_devices of at least 0")
        if not self.max_latency_ratio >= 1:
            raise ConfigError(f"max_latency_ratio: expected at least 1, got {self.max_latency_ratio}")
        return self


def decode_plan(text: str) -> RolloutPlan:
    """Return the plan that a rollout's row holds as JSON."""
    return msgspec.json.decode(text, type=RolloutPlan)


def share_of(plan: RolloutPlan, stage: int) -> float:
    """Return the share (0 … 1) of the fleet that stage number `stage` (from 0) reaches."""
    return plan.limit("stages", stage=stage) / 100
