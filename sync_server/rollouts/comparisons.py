"""Three ways to judge the counts of a guardrail: a share, a loss and a rise. Each also describes its result in words."""

import math
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Literal

import msgspec

from sync_server.database.engine import struct_of
from sync_server.rollouts.measurements import Sides
from sync_server.statistics.confidence_sequences import Interval, ratio_difference, share_interval
from sync_server.statistics.stratified import relative_change

Verdict = Literal["fine", "undecided", "harm"]
EXPECTED_CHANGE = 0.2
"""The change of clicks for which the interval is narrowest: between the limits of early and of late stages."""


class Guardrail(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a guardrail: `estimate` with its interval, and the limit for the verdict `harm`.

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


class Comparison(ABC):
    """How one kind of guardrail is judged and described."""

    def judge(self, name: str, sides: Sides, setting: float, *, alpha: float) -> Guardrail:
        """Return the result of the guardrail `name`.

        Args:
            name: of the guardrail.
            sides: what was counted.
            setting: the plan's limit.
            alpha: the highest allowed probability that harm is ever found where there is none.
        """
        verdict, found, limit = self._judged(sides, setting, alpha)
        return struct_of(found, Guardrail, name=name, verdict=verdict, limit=limit, devices=found.units)

    @abstractmethod
    def _judged(self, sides: Sides, setting: float, alpha: float) -> tuple[Verdict, Interval, float]:
        """Return the verdict, its interval, and the limit in the interval's unit."""

    @abstractmethod
    def harm(self, found: Guardrail) -> str:
        """Return what a guardrail with the verdict `harm` found, in one sentence."""

    def open_question(self, found: Guardrail) -> str:
        """Return how much harm is still possible when the verdict is not `harm`; "" when none beyond the limit is.

        Without evidence of harm the verdict is "fine", even with few devices.
        """
        if found.verdict == "harm" or found.upper <= found.limit:
            return ""
        if not found.devices or not math.isfinite(found.upper):
            return "too few devices to tell any harm"
        return self._hidden(found)

    def _hidden(self, found: Guardrail) -> str:
        return f"up to {found.upper:.0%} of devices could be harmed without it being known yet"


class Share(Comparison):
    """The share of the reached devices to which something bad happened.

    The limit is the plan's share beyond that of the old side: what happens to devices of both releases is no release's
    doing.
    """

    def _judged(self, sides: Sides, setting: float, alpha: float) -> tuple[Verdict, Interval, float]:
        found = share_interval(int(min(sides.new.n, sides.new.d)), sides.new.devices, alpha=alpha)
        limit = min(setting + sides.old.ratio, 1.0)
        # A few devices cannot rule out 2% of failures, so only evidence of harm counts.
        return "harm" if found.lower > limit else "fine", found, limit

    def harm(self, found: Guardrail) -> str:
        """Return what a guardrail with the verdict `harm` found, in one sentence."""
        span = f"{found.lower:.1%} to {found.upper:.1%} of {found.devices} devices"
        return f"{_spoken(found)} on {span}, {found.limit:.1%} are allowed"


class Loss(Comparison):
    """The relative change of a ratio that should not fall; a stage ends only once a loss of the limit is ruled out.

    The sums are over cells of devices, stratified by day.
    """

    def _judged(self, sides: Sides, setting: float, alpha: float) -> tuple[Verdict, Interval, float]:
        found = replace(
            relative_change(sides.new, sides.old, alpha=alpha, expected=EXPECTED_CHANGE), units=sides.devices
        )
        verdict: Verdict = "undecided"
        if found.upper < 0:
            verdict = "harm"
        elif not sides.old.ratio or found.lower > -setting:
            # The old release has no clicks either, so there is nothing to compare with.
            verdict = "fine"
        return verdict, found, -setting

    def harm(self, found: Guardrail) -> str:
        """Return what a guardrail with the verdict `harm` found, in one sentence."""
        return f"{_spoken(found)} changed by {found.lower:.1%} to {found.upper:.1%} on {found.devices} devices"

    def open_question(self, found: Guardrail) -> str:
        """Return which change the present devices cannot show, and how many devices would; "" when nothing is open.

        Intervals narrow with the square root of the devices, so the number is an estimate.
        """
        if found.verdict == "fine" and not math.isfinite(found.upper):
            return "there are no clicks to compare yet"
        if found.verdict != "undecided":
            return ""
        width = max(found.upper - found.estimate, found.estimate - found.lower)
        if not math.isfinite(width) or not found.limit:
            return "too few devices to tell any change"
        needed = math.ceil(found.devices * (width / abs(found.limit)) ** 2)
        limits = f"a change of less than {width:.0%} either way cannot be told from none yet"
        return f"{limits}; that of the limit takes some {needed:,} devices, or the same ones for longer"


class Rise(Comparison):
    """The relative change of a mean beyond the limit, which says how many times the old one is allowed."""

    def _judged(self, sides: Sides, setting: float, alpha: float) -> tuple[Verdict, Interval, float]:
        found = _relative(sides, alpha=alpha, scale=setting)
        return "harm" if found.lower > 0 else "fine", found, 0.0

    def harm(self, found: Guardrail) -> str:
        """Return what a guardrail with the verdict `harm` found, in one sentence."""
        beyond = f"{found.lower:.1%} to {found.upper:.1%} beyond what is allowed"
        return f"{_spoken(found)} is {beyond}, on {found.devices} devices"

    def _hidden(self, found: Guardrail) -> str:
        return f"{_spoken(found)} up to {found.upper:.0%} beyond what is allowed cannot be ruled out yet"


def _relative(sides: Sides, *, alpha: float, scale: float = 1.0) -> Interval:
    old = sides.old.ratio
    found = ratio_difference(sides.new, sides.old, alpha=alpha, scale=scale)
    if not old:
        return Interval(0.0, float("-inf"), float("inf"), found.units)
    return Interval(found.estimate / old, found.lower / old, found.upper / old, found.units)


def _spoken(found: Guardrail) -> str:
    return found.name.replace("_", "-")
