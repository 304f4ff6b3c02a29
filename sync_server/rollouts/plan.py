"""When a rollout goes on, waits, or stops itself: decisions about numbers, without database or clock."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import msgspec

from edge_runtime.contract.errors import ConfigError
from sync_server.statistics.confidence_sequences import Interval, RatioSums, ratio_difference, share_interval

_HOUR_S = 3_600.0
FAILURES = ("install_failed", "proof_failed", "crashed")
_GUARDRAILS = (*FAILURES, "click_through", "latency")

Verdict = Literal["fine", "undecided", "harm"]
Action = Literal["wait", "advance", "complete", "halt", "pause", "resume", "superseded"]


class RolloutPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a release comes to a whole channel.

    Attributes:
        stages: shares of the fleet in per cent, rising, the last one 100.
        soak_hours: how long a stage lasts at least.
        hold_hours: how long a stage may wait for evidence before the rollout pauses for the operator.
        min_devices: how many devices must have reported before a stage can end.
        max_failures: share of devices whose installation or proof may fail, or that may crash (each).
        max_click_drop: relative loss of click-through that must be ruled out before a stage ends, for each stage (the
            last number holds for the rest): a small stage cannot rule out a small loss.
        max_latency_ratio: how many times slower the release may be.
        alpha: probability that a harmless rollout is ever halted, at most, over all guardrails and all looks.
    """

    stages: tuple[float, ...] = (1.0, 5.0, 25.0, 100.0)
    soak_hours: float = 24.0
    hold_hours: float = 336.0
    min_devices: int = 1
    max_failures: float = 0.02
    max_click_drop: tuple[float, ...] = (0.3, 0.15, 0.1)
    max_latency_ratio: float = 1.25
    alpha: float = 0.05

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


@dataclass(frozen=True)
class Measured:
    """What is known of a release on its way and of the one that it replaces, over the same time.

    Attributes:
        devices: devices that the rollout reached (installed or failed).
        failures: kind (`FAILURES`) -> devices to which it happened.
        clicks, control_clicks: clicks by impressions, by device, with the new release and with the old one.
        latency, control_latency: milliseconds of a golden query (denominator 1), by device.
    """

    devices: int
    failures: dict[str, int]
    clicks: RatioSums
    control_clicks: RatioSums
    latency: RatioSums
    control_latency: RatioSums


class Guardrail(msgspec.Struct, frozen=True, kw_only=True):
    """What a guardrail says: the interval of `estimate`, and the limit that `harm` is judged by.

    `click_through` is the relative change (-0.1: a tenth fewer clicks), `latency` the relative change of milliseconds
    beyond what is allowed, failures are shares of devices.
    """

    name: str
    verdict: Verdict
    estimate: float
    lower: float
    upper: float
    limit: float
    devices: int


def open_question(guardrail: Guardrail) -> str:
    """Return what a guardrail cannot tell with the devices at hand, and how many devices it takes; "" when nothing is open.

    Failures and latency are judged "fine" without evidence of harm, so these say how much harm could hide. Intervals
    narrow with the square root of the devices, so the number is an estimate.
    """
    if guardrail.name in (*FAILURES, "latency"):
        return _hidden_harm(guardrail)
    if guardrail.verdict != "undecided":
        return ""
    width = max(guardrail.upper - guardrail.estimate, guardrail.estimate - guardrail.lower)
    if not math.isfinite(width) or not guardrail.limit:
        return "too few devices to tell any change"
    needed = math.ceil(guardrail.devices * (width / abs(guardrail.limit)) ** 2)
    told = f"a change of less than {width:.0%} either way cannot be told from none yet"
    return f"{told}; that of the limit takes some {needed:,} devices, or the same ones for longer"


def _hidden_harm(guardrail: Guardrail) -> str:
    if guardrail.verdict == "harm" or guardrail.upper <= guardrail.limit:
        return ""
    if not guardrail.devices or not math.isfinite(guardrail.upper):
        return "too few devices to tell any harm"
    if guardrail.name == "latency":
        return f"answers up to {guardrail.upper:.0%} slower than is allowed cannot be ruled out yet"
    return f"up to {guardrail.upper:.0%} of devices could be harmed without it being known yet"


@dataclass(frozen=True)
class Decision:
    """What becomes of a rollout, and why, in one sentence."""

    action: Action
    reason: str


def judge(plan: RolloutPlan, measured: Measured, *, stage: int) -> list[Guardrail]:
    """Return what each guardrail says in stage number `stage` (from 0) now; looking often is allowed."""
    alpha = plan.alpha / len(_GUARDRAILS)
    drop = plan.max_click_drop[min(stage, len(plan.max_click_drop) - 1)]
    return [*_failures(plan, measured, alpha), _click_through(drop, measured, alpha), _latency(plan, measured, alpha)]


def _failures(plan: RolloutPlan, measured: Measured, alpha: float) -> Iterator[Guardrail]:
    for name in FAILURES:
        found = share_interval(min(measured.failures.get(name, 0), measured.devices), measured.devices, alpha=alpha)
        # A handful of devices cannot rule out two per cent of failures: only evidence of harm counts here.
        verdict: Verdict = "harm" if found.lower > plan.max_failures else "fine"
        yield _guardrail(name, verdict, found, plan.max_failures)


def _click_through(max_drop: float, measured: Measured, alpha: float) -> Guardrail:
    old = measured.control_clicks.ratio
    found = ratio_difference(measured.clicks, measured.control_clicks, alpha=alpha)
    relative = _scaled(found, 1 / old if old else 0.0)
    verdict: Verdict = "undecided"
    if not old:
        # No clicks come back from the old release either: there is nothing to compare with.
        verdict = "fine"
    elif relative.upper < 0:
        verdict = "harm"
    elif relative.lower > -max_drop:
        verdict = "fine"
    return _guardrail("click_through", verdict, relative, -max_drop)


def _latency(plan: RolloutPlan, measured: Measured, alpha: float) -> Guardrail:
    old, allowed = measured.control_latency.ratio, plan.max_latency_ratio
    found = ratio_difference(measured.latency, measured.control_latency, alpha=alpha, scale=allowed)
    relative = _scaled(found, 1 / old if old else 0.0)
    verdict: Verdict = "harm" if old and relative.lower > 0 else "fine"
    return _guardrail("latency", verdict, relative, 0.0)


def _scaled(interval: Interval, factor: float) -> Interval:
    if not factor:
        return Interval(0.0, float("-inf"), float("inf"), interval.units)
    return Interval(interval.estimate * factor, interval.lower * factor, interval.upper * factor, interval.units)


def _guardrail(name: str, verdict: Verdict, found: Interval, limit: float) -> Guardrail:
    return Guardrail(
        name=name,
        verdict=verdict,
        estimate=found.estimate,
        lower=found.lower,
        upper=found.upper,
        limit=limit,
        devices=found.units,
    )


def decide(
    plan: RolloutPlan, *, stage: int, hours_in_stage: float, measured: Measured, guardrails: list[Guardrail]
) -> Decision:
    """Return what a running rollout does next.

    Args:
        plan: the rollout's plan.
        stage: which of the plan's stages runs, from 0.
        hours_in_stage: since when.
        measured: the counts behind `guardrails`.
        guardrails: from `judge`.
    """
    harmful = next((guardrail for guardrail in guardrails if guardrail.verdict == "harm"), None)
    if harmful is not None:
        return Decision("halt", _harm(harmful))
    if hours_in_stage < plan.soak_hours:
        return Decision("wait", f"stage {stage + 1} soaks: {hours_in_stage:.1f} of {plan.soak_hours:g} hours")
    waiting = [guardrail.name for guardrail in guardrails if guardrail.verdict == "undecided"]
    if measured.devices < plan.min_devices:
        waiting.append(f"{plan.min_devices} devices")
    if waiting and hours_in_stage >= plan.hold_hours:
        return Decision("pause", f"no evidence after {plan.hold_hours:g} hours: {', '.join(waiting)}; look and decide")
    if waiting:
        return Decision("wait", f"stage {stage + 1} waits for evidence: {', '.join(waiting)}")
    if stage + 1 < len(plan.stages):
        return Decision("advance", f"stage {stage + 1} passed, {plan.stages[stage + 1]:g}% are next")
    return Decision("complete", "every stage passed")


def _harm(guardrail: Guardrail) -> str:
    name, low, high = guardrail.name.replace("_", "-"), guardrail.lower, guardrail.upper
    if guardrail.name in FAILURES:
        return f"{name} on {low:.1%} to {high:.1%} of {guardrail.devices} devices, {guardrail.limit:.1%} are allowed"
    if guardrail.name == "latency":
        return f"latency is {low:.1%} to {high:.1%} beyond what is allowed, on {guardrail.devices} devices"
    return f"{name} changed by {low:.1%} to {high:.1%} on {guardrail.devices} devices"


def share_of(plan: RolloutPlan, stage: int) -> float:
    """Return the share (0 … 1) of the fleet that stage number `stage` (from 0) reaches."""
    return plan.stages[min(stage, len(plan.stages) - 1)] / 100


def first_sentence(guardrails: list[Guardrail]) -> str:
    """Return the guardrails as one line: name, estimate, interval."""
    return ", ".join(f"{g.name} {g.estimate:+.2%} [{g.lower:+.2%}, {g.upper:+.2%}] {g.verdict}" for g in guardrails)
