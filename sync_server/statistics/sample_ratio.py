"""A test whether devices were assigned to variants as planned."""

import math


def chi_square_p_value(counts: list[int], shares: list[float]) -> float:
    """Return the p-value of Pearson's chi-square test that `counts` follow `shares`, whose sum is 1.

    The survival function of the chi-square distribution has a closed form for integer degrees of freedom.
    """
    total = sum(counts)
    if total == 0 or len(counts) < 2:
        return 1.0
    statistic = sum((count - total * share) ** 2 / (total * share) for count, share in zip(counts, shares, strict=True))
    freedom, half = len(counts) - 1, statistic / 2
    if freedom % 2 == 0:
        terms = [math.exp(-half + k * math.log(half) - math.lgamma(k + 1)) if half else float(k == 0)
                 for k in range(freedom // 2)]  # fmt: skip
        return min(1.0, sum(terms))
    rest = sum(
        math.exp(-half + (k - 0.5) * math.log(half) - math.lgamma(k + 0.5)) if half else 0.0
        for k in range(1, (freedom + 1) // 2)
    )
    return min(1.0, math.erfc(math.sqrt(half)) + rest)
