"""The relative change of a ratio (clicks by impressions) between two equal groups of devices, compared day by day.

The shares of a rollout rise while seasons and weekends move everybody's clicks. Counts that are pooled over the whole
rollout therefore compare a weekend with a week (Simpson's paradox). Here each day of each stage is a stratum with two
groups of the same size, and only groups of one stratum are compared.

The devices of a group are divided into cells by a hash. A device always falls in the same cell, so sums by cell keep what
the variance needs: what one device does today depends on what it did yesterday, what two cells do does not. (Random
groups: Wolter, "Introduction to Variance Estimation", 2007, chapter 2.)
"""

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from sync_server.statistics.confidence_sequences import MIN_EVENTS, MIN_UNITS, Interval, RatioSums, mixture_radius

Floats = npt.NDArray[np.float64]


def stratified_sums(clicks: Floats, impressions: Floats) -> tuple[RatioSums, RatioSums]:
    """Return the sums of both sides over cells, weighted so that each stratum counts equally much on both sides.

    A stratum's weight is the harmonic mean of both sides' impressions: the weight of the least variance when both sides
    have the same ratio. A stratum without impressions on one side is left out.

    Args:
        clicks: float64 [strata, 2, cells].
        impressions: float64 [strata, 2, cells].
    """
    shown = impressions.sum(axis=2)
    known = shown.min(axis=1) > 0
    clicks, impressions, shown = clicks[known], impressions[known], shown[known]
    weights = 2.0 / (1.0 / shown).sum(axis=1, keepdims=True)
    factors = (weights / shown)[:, :, None]
    n, d = (clicks * factors).sum(axis=0), (impressions * factors).sum(axis=0)
    new, old = (cell_sums(n[side], d[side]) for side in (0, 1))
    return new, old


def cell_sums(n: Floats, d: Floats) -> RatioSums:
    """Return the sums over cells (or devices) with numerators `n` and denominators `d`; those without either add nothing."""
    return RatioSums(int(np.count_nonzero(d)), *(float(value.sum()) for value in (n, d, n * n, n * d, d * d)))


def relative_change(new: RatioSums, old: RatioSums, *, alpha: float, expected: float) -> Interval:
    """Return the interval of (ratio of `new`) / (ratio of `old`) - 1, valid at every look; `units` counts cells.

    Args:
        new: sums over the cells of the devices with the new release.
        old: of those with the old one.
        alpha: the highest allowed probability that the true change is ever outside.
        expected: the change, in absolute value, for which the interval is narrowest; it decides no validity.
    """
    units = min(new.devices, old.devices)
    if not old.ratio:
        return Interval(0.0, -math.inf, math.inf, units)
    change = new.ratio / old.ratio - 1.0
    variance = math.inf
    if units >= MIN_UNITS and min(new.n, old.n) >= MIN_EVENTS:
        # Delta method of the quotient of two independent ratios, for no change where the estimate is a loss: a single bot
        # on the old side would otherwise make a large loss with a narrow interval.
        variance = (new.variance + max(1.0, 1.0 + change) ** 2 * old.variance) / old.ratio**2
    radius = mixture_radius(variance, alpha=alpha, expected=expected)
    return Interval(change, change - radius, change + radius, units)


def visible_loss(
    devices: float, *, spread: float, days: float, alpha: float, expected: float, power: float = 0.5
) -> float:
    """Return the smallest relative loss of clicks that two groups show, with probability `power`, by the end of a stage.

    Devices install the release at a random hour of the stage's first day, so that half a day of the stage is lost.

    Args:
        devices: in each of the two groups.
        spread: variance of the ratio of one device over the stage, relative to the square of the ratio: the variance of
            the ratio of m devices is spread * ratio² / m.
        days: how long the stage lasts.
        alpha: of the guardrail.
        expected: as in `relative_change`.
        power: probability that the loss is seen.
    """
    if devices <= 0 or days <= 0:
        return math.inf
    variance = 2.0 * spread / devices
    seen = mixture_radius(variance, alpha=alpha, expected=expected) + NormalDist().inv_cdf(power) * math.sqrt(variance)
    installed = 1.0 - 0.5 / days if days >= 1.0 else 0.5 * days
    return seen / installed
