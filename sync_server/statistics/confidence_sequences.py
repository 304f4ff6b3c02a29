"""Confidence sequences: intervals that stay valid under repeated evaluation.

A confidence interval is valid at one sample size that was fixed before. Someone who looks at it daily, and stops when it
excludes zero, is wrong far more often than its level says. A confidence sequence is valid at all sample sizes together.

- `share_interval`: a share of yes and no. Robbins' mixture with a Beta prior: (mixed likelihood) / (likelihood at p) is
  a non-negative martingale under p, so by Ville's inequality it ever reaches 1/alpha with probability alpha at most
  (Robbins 1970; Howard, Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence
  sequences", Annals of Statistics 2021). Exact at every sample size.
- `normal_radius`: a mean or a difference of means with a known standard error. The normal mixture of the same article,
  with the variance estimated: an asymptotic confidence sequence (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas,
  "Time-uniform central limit theory and asymptotic confidence sequences", Annals of Statistics 2024), which is the
  interval behind mixture sequential probability ratio tests (Johari, Koomen, Pekelis and Walsh 2022).
- `mixture_radius`: the same bound with the information of the estimate as its clock (stratified.py).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

SMALL_SHARES, ANY_SHARES = (0.5, 5.0), (1.0, 1.0)
"""Beta priors of the mixture. They say for which shares the interval is narrow; it is valid for every share."""
# Halving 60 times reaches the precision of a float64.
_STEPS = 60
TIGHTEST_AT = 500.0
"""Number of units (devices) at which `normal_radius` is closest to the interval of a fixed sample size."""
MIN_UNITS, MIN_EVENTS = 50, 20
"""The normal approximation needs this many devices and clicks on each side. With fewer, the interval has no bounds."""


@dataclass(frozen=True)
class Interval:
    """An estimate and the interval around it; `units` is how many devices it rests on."""

    estimate: float
    lower: float
    upper: float
    units: int


@dataclass(frozen=True)
class EstimateAt:
    """An estimate and the interval around it at one time, in seconds since 1970."""

    at_s: float
    lower: float
    estimate: float
    upper: float


@dataclass(frozen=True)
class RatioSums:
    """Sums over devices of a numerator n (clicks) and a denominator d (impressions), from which a ratio is estimated.

    The clicks of one device depend on each other, so the device is the unit, not the impression.
    """

    devices: int
    n: float
    d: float
    nn: float
    nd: float
    dd: float

    @property
    def ratio(self) -> float:
        """Sum of numerators by sum of denominators; 0 without data."""
        return self.n / self.d if self.d else 0.0

    @property
    def variance(self) -> float:
        """Variance of `ratio` by the delta method, from the spread between devices."""
        if self.devices < 2 or not self.d:
            return math.inf
        ratio = self.ratio
        squares = self.nn - 2 * ratio * self.nd + ratio * ratio * self.dd
        mean_d = self.d / self.devices
        return max(0.0, squares) / (self.devices - 1) / self.devices / (mean_d * mean_d)


def share_interval(yes: int, of: int, *, alpha: float, prior: tuple[float, float] = SMALL_SHARES) -> Interval:
    """Return the interval of a share after `of` independent units, `yes` of them positive.

    Args:
        yes: the number of positive units.
        of: the number of units.
        alpha: the highest allowed probability that the true share is ever outside.
        prior: parameters of the Beta prior.
    """
    if of == 0:
        return Interval(0.0, 0.0, 1.0, 0)
    no, estimate = of - yes, yes / of
    mixed = _log_beta(prior[0] + yes, prior[1] + no) - _log_beta(*prior)

    def excluded(share: float) -> bool:
        likelihood = (yes * math.log(share) if yes else 0.0) + (no * math.log1p(-share) if no else 0.0)
        return mixed - likelihood >= -math.log(alpha)

    lower = _edge(0.0, estimate, excluded) if yes else 0.0
    upper = _edge(1.0, estimate, excluded) if no else 1.0
    return Interval(estimate, lower, upper, of)


def _edge(outside: float, inside: float, excluded: Callable[[float], bool]) -> float:
    """Return the outermost share between the two that is not excluded, by bisection."""
    for _ in range(_STEPS):
        middle = (outside + inside) / 2
        if excluded(middle):
            outside = middle
        else:
            inside = middle
    return outside


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def normal_radius(variance: float, units: float, *, alpha: float) -> float:
    """Return half the width of the interval around an estimate with this variance, resting on `units` units."""
    if units <= 0 or not math.isfinite(variance):
        return math.inf
    rho2 = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / TIGHTEST_AT
    grown = units * rho2 + 1
    return math.sqrt(variance * 2 * grown / (units * rho2) * math.log(math.sqrt(grown) / alpha))


def mixture_radius(variance: float, *, alpha: float, expected: float) -> float:
    """Return half the width of the interval around an estimate with this variance, at every time of its growing evidence.

    The clock is the information 1 / `variance`, as in group-sequential tests, and not a number of devices: the same
    devices tell more with every day. The mixture is normal with the standard deviation `expected`.

    Args:
        variance: of the estimate, now.
        alpha: the highest allowed probability that the true value is ever outside.
        expected: the effect for which the interval is narrowest, in the unit of the estimate.
    """
    if not math.isfinite(variance):
        return math.inf
    if variance <= 0:
        return 0.0
    known = expected * expected / variance
    return math.sqrt(variance * 2 * (known + 1) / known * math.log(math.sqrt(known + 1) / alpha))


def ratio_difference(treated: RatioSums, control: RatioSums, *, alpha: float, scale: float = 1.0) -> Interval:
    """Return the interval of (ratio of `treated`) - `scale` * (ratio of `control`)."""
    estimate = treated.ratio - scale * control.ratio
    units = min(treated.devices, control.devices)
    enough = units >= MIN_UNITS and min(treated.n, control.n) >= MIN_EVENTS
    variance = treated.variance + scale * scale * control.variance if enough else math.inf
    radius = normal_radius(variance, units, alpha=alpha)
    return Interval(estimate, estimate - radius, estimate + radius, units)


def open_difference(difference: float, lower: float | None, upper: float | None) -> str:
    """Return in plain words what a difference of ratios cannot show yet; "" once its interval excludes 0.

    Args:
        difference: the estimate.
        lower: lower bound of its interval; None or infinite when there is none yet.
        upper: upper bound, likewise.
    """
    if lower is None or upper is None or not math.isfinite(upper - lower):
        return f"no difference can be told before {MIN_UNITS} devices and {MIN_EVENTS} clicks in each variant"
    if lower > 0 or upper < 0:
        return ""
    return f"a difference of less than {100 * (upper - difference):.2g} points either way cannot be told from none yet"
