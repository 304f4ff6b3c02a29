"""Clicks -> position bias -> judgements: a product's attraction for a query, corrected for position bias.

The model is position-based: a product is clicked when its position is examined and the product is attractive, both
independent (Craswell et al., "An experimental comparison of click position-bias models", 2008). The ratio of
examination between neighboring positions is estimated from swapped neighbors, each weighted by its inverse propensity
(intervention harvesting: Agarwal et al., "Estimating position bias without intrusive interventions", 2019). A click is
then weighted by the inverse of the examination probability of its position, clipped (Joachims, Swaminathan and
Schnabel, "Unbiased learning-to-rank with biased feedback", 2017).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.types import Float64
from train.clicks.log import FeedbackLog


@dataclass(frozen=True)
class ClickSettings:
    """How clicks become judgements.

    Attributes:
        max_weight: the most that one click counts; a low limit adds bias, a high one variance.
        max_inverse_propensity: the most that the inverse of a logged probability counts.
        prior_impressions: a product's attraction is drawn towards its query's mean with the weight of so many impressions.
        prior_clicks: a step of the position bias is drawn towards 1/position with the weight of so many clicks.
    """

    max_weight: float = 20.0
    max_inverse_propensity: float = 100.0
    prior_impressions: float = 5.0
    prior_clicks: float = 5.0


@dataclass(frozen=True)
class PositionBias:
    """How much a place is looked at.

    Attributes:
        examination: float64 [places], that of place 1 is 1.
        is_estimated: False when no swapped neighbors were logged and 1/position was assumed.
    """

    examination: Float64
    is_estimated: bool


@dataclass(frozen=True)
class Attractions:
    """The attractions of products for queries, in the numbers of the log.

    Attributes:
        query: int32 [pairs].
        product: int32 [pairs].
        attraction: float64 [pairs], the chance that the product is wanted when it is looked at, 0 … 1.
        impressions: float64 [pairs], how often it was shown.
    """

    query: npt.NDArray[np.int32]
    product: npt.NDArray[np.int32]
    attraction: Float64
    impressions: Float64


class SwapCounts:
    """What the log says about neighbors that were swapped, added up by block of devices, so that a bootstrap is cheap.

    Args:
        log: the impressions.
        settings: clipping and priors.
        blocks: int32 [impressions], which block each belongs to; one block by default.
    """

    def __init__(self, log: FeedbackLog, settings: ClickSettings, blocks: npt.NDArray[np.int32] | None = None) -> None:
        self._settings = settings
        of_block = np.zeros(len(log.position), np.int32) if blocks is None else blocks
        self._blocks = int(of_block.max()) + 1
        places = int(log.position.max())
        inverse = np.minimum(1.0 / log.propensity, settings.max_inverse_propensity)
        self._swaps = 0
        # float64 [blocks, places - 1, 5]: at the upper place shown and clicked, at the lower the same, plain clicks.
        self._sums = np.zeros((self._blocks, places - 1, 5))
        for place in range(1, places):
            # Only products that a coin may put at either place show what the place itself does.
            pair = (log.rank == place) | (log.rank == place + 1)
            here = [pair & (log.position == place), pair & (log.position == place + 1)]
            self._swaps += int(((here[0] | here[1]) & (log.position != log.rank)).sum())
            columns = [values for side in here for values in (inverse * side, inverse * log.wanted * side)]
            columns.append(log.wanted * (here[0] | here[1]))
            for number, values in enumerate(columns):
                self._sums[:, place - 1, number] = np.bincount(of_block, weights=values, minlength=self._blocks)

    def estimate(self, counts: Float64 | None = None) -> PositionBias:
        """Return how much each place is looked at, each block counted as often as `counts` float64 [blocks] says."""
        sums = np.tensordot(np.ones(self._blocks) if counts is None else counts, self._sums, axes=1)
        examination = np.ones(len(sums) + 1)
        if not self._swaps:
            return PositionBias(1.0 / np.arange(1, len(sums) + 2), is_estimated=False)
        for place, (upper, upper_wanted, lower, lower_wanted, clicks) in enumerate(sums, 1):
            assumed = place / (place + 1)
            measured = assumed
            if upper and lower and upper_wanted:
                measured = (lower_wanted / lower) / (upper_wanted / upper)
            share = clicks / (clicks + self._settings.prior_clicks)
            examination[place] = examination[place - 1] * (share * measured + (1 - share) * assumed)
        return PositionBias(np.clip(examination, 1e-3, None), is_estimated=True)


def estimate_position_bias(log: FeedbackLog, settings: ClickSettings) -> PositionBias:
    """Return how much each place is looked at; 1/position is assumed when no neighbors were swapped."""
    return SwapCounts(log, settings).estimate()


def estimate_attractions(log: FeedbackLog, bias: PositionBias, settings: ClickSettings) -> Attractions:
    """Return the attraction of every product that was shown for a query: the mean of inverse-weighted clicks, shrunken."""
    weight = np.minimum(1.0 / bias.examination[log.position - 1], settings.max_weight)
    key = log.query.astype(np.int64) * len(log.products) + log.product
    pairs, of_pair = np.unique(key, return_inverse=True)
    shown = np.bincount(of_pair).astype(np.float64)
    gained = np.bincount(of_pair, weights=weight * log.wanted)
    query = (pairs // len(log.products)).astype(np.int32)
    # The query's mean, itself drawn towards that of all: a query with three impressions says little.
    mean = gained.sum() / shown.sum()
    by_query = np.bincount(query, weights=gained, minlength=len(log.queries)) + mean * settings.prior_impressions
    by_query /= np.maximum(
        np.bincount(query, weights=shown, minlength=len(log.queries)) + settings.prior_impressions, 1e-9
    )
    prior = settings.prior_impressions
    attraction = (gained + prior * by_query[query]) / (shown + prior)
    return Attractions(query, (pairs % len(log.products)).astype(np.int32), np.clip(attraction, 0.0, 1.0), shown)
