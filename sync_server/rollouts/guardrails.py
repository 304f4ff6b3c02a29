"""What the guardrails of a rollout say of its measurements: no harm, harm, or not known yet."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import msgspec

from sync_server.rollouts.plan import RolloutPlan
from sync_server.statistics.confidence_sequences import Interval, RatioSums, ratio_difference, share_interval

FAILURES = ("install_failed", "proof_failed", "crashed")
_GUARDRAILS = (*FAILURES, "click_through", "latency")

Verdict = Literal["fine", "undecided", "harm"]


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
    limits = f"a change of less than {width:.0%} either way cannot be told from none yet"
    return f"{limits}; that of the limit takes some {needed:,} devices, or the same ones for longer"


def _hidden_harm(guardrail: Guardrail) -> str:
    if guardrail.verdict == "harm" or guardrail.upper <= guardrail.limit:
        return ""
    if not guardrail.devices or not math.isfinite(guardrail.upper):
        return "too few devices to tell any harm"
    if guardrail.name == "latency":
        return f"answers up to {guardrail.upper:.0%} slower than is allowed cannot be ruled out yet"
    return f"up to {guardrail.upper:.0%} of devices could be harmed without it being known yet"


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


def harm_sentence(guardrail: Guardrail) -> str:
    """Return what a guardrail with the verdict `harm` found, in one sentence."""
    name, low, high = guardrail.name.replace("_", "-"), guardrail.lower, guardrail.upper
    if guardrail.name in FAILURES:
        return f"{name} on {low:.1%} to {high:.1%} of {guardrail.devices} devices, {guardrail.limit:.1%} are allowed"
    if guardrail.name == "latency":
        return f"latency is {low:.1%} to {high:.1%} beyond what is allowed, on {guardrail.devices} devices"
    return f"{name} changed by {low:.1%} to {high:.1%} on {guardrail.devices} devices"
