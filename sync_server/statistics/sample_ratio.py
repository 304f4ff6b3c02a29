"""A test whether devices were assigned to variants as planned, valid at every look.

Pearson's test at each look finds a difference sooner or later, however well devices were assigned. Here the shares have a
Dirichlet prior around the planned ones: (mixed likelihood) / (likelihood at the planned shares) is a non-negative
martingale when devices are assigned as planned, so by Ville's inequality its inverse is a p-value at all looks together
(Lindon and Malek, "Anytime-valid inference for multinomial count data", NeurIPS 2022).
"""

import math

CONCENTRATION = 100.0
"""Of the prior, in devices: shares some 5 points off the plan are found soonest. The test is valid for every value."""


def sample_ratio_p_value(counts: list[int], shares: list[float]) -> float:
    """Return the p-value, at every look, that `counts` of devices follow `shares`; 1 without devices.

    Args:
        counts: devices of each variant.
        shares: the planned ones; above 0, and their sum is 1.
    """
    total = sum(counts)
    log_ratio = math.lgamma(CONCENTRATION) - math.lgamma(CONCENTRATION + total)
    for count, share in zip(counts, shares, strict=True):
        prior = CONCENTRATION * share
        log_ratio += math.lgamma(prior + count) - math.lgamma(prior) - count * math.log(share)
    return math.exp(-max(0.0, log_ratio))
